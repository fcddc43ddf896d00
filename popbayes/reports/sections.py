"""The sections of a report: what each says, as plain values that the template prints."""

import base64
import json
import warnings
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import pandas as pd
import xarray as xr
from markupsafe import Markup
from matplotlib.figure import Figure

from popbayes.diagnostics.convergence import LEAST_BFMI, LEAST_ESS, MOST_RHAT
from popbayes.diagnostics.curves import measured_endpoints
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.iterations import iterations
from popbayes.diagnostics.limits import beyond_limits
from popbayes.diagnostics.loo import loo
from popbayes.diagnostics.result import Table, notes_html
from popbayes.diagnostics.shrinkage import shrinkage
from popbayes.diagnostics.summary import summary
from popbayes.diagnostics.summary_estimates import method_text
from popbayes.diagnostics.vpc import vpc
from popbayes.dims import ETA, ITERATION, OBS
from popbayes.infer.tree import Study, draws_or_estimate, is_estimate, study_of
from popbayes.plots.gof_panels import weighted
from popbayes.plots.plot_gof import plot_gof
from popbayes.plots.plot_individual import n_pages, plot_individual
from popbayes.plots.plot_iterations import plot_iterations
from popbayes.plots.plot_shrinkage import plot_shrinkage
from popbayes.plots.plot_vpc import plot_vpc
from popbayes.plots.style import png

DPI = 140
EMPTY = Markup("")
MOST_PAGES = 10
"""Pages of individual fits that a report shows; the rest are counted."""
VPC_CAPTION = (
    "Black lines: percentiles of the observations along time (solid: median; dashed: 5 % and 95 %). "
    "Coloured bands: where the same percentile lies in 90 % of the simulated studies (blue: 5 %; orange-red: "
    "50 %; green: 95 %); thin line in each: its median over these studies. Where the model describes the "
    "data, each black line runs within its own band: the lowest in the blue one, the solid one in the "
    "orange-red one, the highest in the green one."
)
VPC_BELOW = (
    " Panel below: percentage of the observations below the limit of quantification (black) over its 90 % "
    "interval in the simulated studies (grey)."
)
BEYOND = (
    " Hollow triangles are known only to lie beyond the limit at which they are drawn; smooths and quantiles "
    "leave them out."
)


@dataclass(frozen=True)
class Illustration:
    """A figure as the page holds it: its bytes as text, its size on the page, and what it shows in words."""

    png: str
    width: int
    height: int
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    id: str
    title: str
    words: tuple[str, ...] = ()
    html: Markup = EMPTY
    figures: tuple[Illustration, ...] = ()


def illustration(figure: Figure, alt: str, caption: str) -> Illustration:
    """Return a figure ready to be put into a page."""
    width, height = figure.get_size_inches()
    text = base64.b64encode(png(figure, DPI)).decode("ascii")
    return Illustration(text, round(96 * width), round(96 * height), alt, caption)


def convergence_section(table: Table) -> Section:
    """What speaks against the fit; or that nothing does."""
    if table.messages:
        items = "".join(f"<li>{escape(message)}</li>" for message in table.messages)
        words = "<p><strong>Read this before using the fit.</strong></p>"
        html = f'<div class="verdict" role="alert">{words}<ul>{items}</ul></div>'
    else:
        html = (
            f'<div class="verdict good"><p>No problem was found: R-hat is at most {MOST_RHAT} and at least '
            f"{LEAST_ESS:.0f} "
            "draws are effective, bulk and tail, for every population quantity and every random effect; no "
            f"draw diverged; BFMI is at least {LEAST_BFMI} in every chain.</p></div>"
        )
    return Section("convergence", "Convergence", html=Markup(html))


def estimation_section(dt: xr.DataTree, table: Table) -> Section:
    """What speaks against an estimate; or that nothing does."""
    found = iterations(dt)
    averages = found.attrs["smoothing_from"] < found.sizes[ITERATION]
    figures = (
        illustration(
            plot_iterations(found),
            "A panel for each estimated value and one for the objective, against the number of the "
            "iteration.",
            "Values and objective at every iteration; grey band: the estimate with its standard error"
            f"{'; dashed: where SAEM begins to average' if averages else ''}.",
        ),
    )
    if table.messages:
        return replace(convergence_section(table), figures=figures)
    words = f"No problem was found: {method_text(dt)}; the objective is at a minimum in every direction."
    html = f'<div class="verdict good"><p>{escape(words)}</p></div>'
    return Section("convergence", "Convergence", html=Markup(html), figures=figures)


def parameter_section(table: Table) -> Section:
    """The parameter table."""
    html = f'<div class="scroll" tabindex="0">{table.table_html()}</div>{notes_html(table.notes)}'
    return Section("parameters", "Population parameters", html=Markup(html))


def data_section(study: Study) -> Section:
    """What the event table holds."""
    return Section("data", "Data", html=Markup(study.events._repr_html_()))


def model_section(study: Study) -> Section:
    """The equations and priors."""
    lines = escape("\n".join(study.model.equations()))
    return Section("model", "Model", html=Markup(f'<pre tabindex="0">{lines}</pre>'))


def individual_section(dt: xr.DataTree) -> Section:
    """Pages of individual fits."""
    pages, endpoints = n_pages(dt), measured_endpoints(study_of(dt).model)
    shown = range(1, min(pages, MOST_PAGES) + 1)
    if not endpoints:
        return Section("individual", "Individual fits", words=("Categories and events have no curve.",))
    beyond = beyond_limits(study_of(dt))[0].any()
    band = "" if is_estimate(dt) else " with its 90 % band"
    caption = (
        f"Observations (points{', triangles: known only to lie beyond the limit' if beyond else ''}), "
        f"individual prediction{band} (solid) and population prediction (dashed) of each subject."
    )
    figures = tuple(
        illustration(
            plot_individual(dt, page=page, endpoint=endpoint),
            f"Individual fits of {endpoint}, page {page} of {pages}: observed and predicted values "
            "against time, one panel a subject.",
            caption,
        )
        for endpoint in endpoints
        for page in shown
    )
    left = (f"The first {MOST_PAGES} of {pages} pages are shown.",) if pages > MOST_PAGES else ()
    return Section("individual", "Individual fits", words=left, figures=figures)


def gof_section(dt: xr.DataTree) -> Section:
    """Goodness of fit of each endpoint, and the random effects where there are any."""
    fitted, names = gof(dt), measured_endpoints(study_of(dt).model)
    each = {"": fitted}
    if len(names) > 1:
        each = {f" of {name}": fitted.isel({OBS: (fitted["endpoint"] == name).to_numpy()}) for name in names}
    residual = str(fitted[weighted(fitted)].attrs["long_name"]).lower() + "s"
    figures = [
        illustration(
            plot_gof(one),
            f"Eight panels{of}: observed against population and individual predictions, linear and "
            f"logarithmic; {residual} against time, time after dose and population "
            "prediction, and their normal quantiles.",
            f"Observed against predicted with the line of identity and a smooth; {residual} with lines at 0 "
            f"and ±1.96 and a smooth.{BEYOND if (one['cens'] != 0).any() else ''}",
        )
        for of, one in each.items()
    ]
    if ETA in draws_or_estimate(dt):
        kind = "Conditional modes" if is_estimate(dt) else "Posterior means"
        figures.append(
            illustration(
                plot_gof(fitted, what="eta"),
                "For each random effect: histogram of the estimates, their normal quantiles, and the "
                "estimates against each covariate.",
                f"{kind} of the random effects. A trend against a covariate is one that the model "
                "does not hold; high shrinkage hides it.",
            )
        )
    return Section("gof", "Goodness of fit", figures=tuple(figures))


def shrinkage_section(dt: xr.DataTree) -> Section:
    """Shrinkage, as numbers and as a picture."""
    if ETA not in draws_or_estimate(dt):
        return Section("shrinkage", "Shrinkage", words=("The model has no random effects.",))
    table = shrinkage(dt)
    percent = {"shrinkage% (SD)": table["shrinkage"]}
    pooled = not is_estimate(dt)  # estimates have no pooling factor
    percent |= {"pooling factor%": table["pooling"]} if pooled else {}
    cells = {"omega": _cells(table["omega"], "{:.3g}"), "SD of estimates": _cells(table["sd"], "{:.3g}")}
    cells |= {name: _cells(100 * values, "{:.0f}") for name, values in percent.items()}
    printed = pd.DataFrame(cells, index=pd.Index(table.index, name="random effect"))
    html = Table(table, printed, title="epsilon: shrinkage of the weighted residuals").table_html()
    figure = illustration(
        plot_shrinkage(dt),
        f"Bars of shrinkage{' and pooling factor' if pooled else ''}; for each random effect the "
        f"{'posterior mean' if pooled else 'conditional mode'} and interval of every subject over the band "
        "of the population.",
        "Near 0 % the data speak for themselves; near 100 % individual estimates are pulled to the typical "
        "value.",
    )
    return Section("shrinkage", "Shrinkage", html=Markup(html), figures=(figure,))


def vpc_section(simulated: xr.DataTree) -> Section:
    """Visual predictive checks, without and with prediction correction; what cannot be made is said."""
    figures, words = _outcome_checks(simulated)
    measured = measured_endpoints(study_of(simulated).model)
    for pred_corr in (False, True) if measured else ():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*of which percentiles say nothing")
                checked = vpc(simulated, pred_corr=pred_corr)
                figure = plot_vpc(checked)
        except ValueError as problem:
            words.append(f"{'Prediction-corrected: ' if pred_corr else ''}{problem}")
            continue
        name = "Prediction-corrected visual" if pred_corr else "Visual"
        figures.append(
            illustration(
                figure,
                f"{name} predictive check: percentiles of the observations against time, over the intervals "
                "of the same percentiles in simulated studies.",
                f"{VPC_CAPTION}{VPC_BELOW if 'below' in checked else ''}",
            )
        )
    return Section("vpc", "Visual predictive check", words=tuple(words), figures=tuple(figures))


def _outcome_checks(simulated: xr.DataTree) -> tuple[list[Illustration], list[str]]:
    """Checks of categories and events, and why there is none of some."""
    figures, words = [], []
    for name in (k.endpoint for k in study_of(simulated).model.observation.kinds if k.law.categorical):
        try:
            figure = plot_vpc(vpc(simulated, endpoint=name))
        except ValueError as problem:
            words.append(str(problem))
            continue
        figures.append(
            illustration(
                figure,
                f"Visual predictive check of {name}: observed percentages against time, over the intervals "
                "of the same percentages in simulated studies.",
                f"{name}: observed (black) over the interval of simulated studies.",
            )
        )
    return figures, words


def loo_section(dt: xr.DataTree) -> Section:
    """Leave-one-out, or why there is none."""
    try:
        return Section("loo", "Predictive accuracy", html=Markup(loo(dt)._repr_html_()))
    except ValueError as problem:
        return Section("loo", "Predictive accuracy", words=(str(problem),))


def made_section(dt: xr.DataTree) -> Section:
    """How the fit was made: sampler, seed, time, versions; and the model as JSON."""
    attrs = dt.attrs
    facts = {
        "Sampler": attrs.get("sampler", ""),
        "Method": method_text(dt) if is_estimate(dt) else "",
        "Chains and draws": ""
        if is_estimate(dt)
        else f"{attrs.get('chains', '?')} chains, {attrs.get('tune', '?')} warm-up and "
        f"{attrs.get('draws', '?')} kept draws each",
        "Target acceptance": attrs.get("target_accept", ""),
        "Seed": attrs.get("seed", ""),
        "Time": f"{float(attrs['wall_time']):.0f} s, {float(attrs['cpu_time']):.0f} s of processor time"
        if "wall_time" in attrs and "cpu_time" in attrs
        else "",
        "Made": attrs.get("created", ""),
        "Interrupted": "yes, by hand: fewer draws than asked for" if int(attrs.get("interrupted", 0)) else "",
        "Versions": ", ".join(f"{k} {v}" for k, v in json.loads(attrs.get("versions", "{}")).items()),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if str(v))
    model = escape(json.dumps(json.loads(attrs["model"]), indent=2, ensure_ascii=False))
    source = f'<details><summary>The model as JSON</summary><pre tabindex="0">{model}</pre></details>'
    return Section("made", "How this was made", html=Markup(f"<dl>{rows}</dl>{source}"))


def all_sections(dt: xr.DataTree, simulated: xr.DataTree) -> list[Section]:
    """Every section, in the order of the page."""
    study, table = study_of(dt), summary(dt)
    estimated = is_estimate(dt)
    return [
        estimation_section(dt, table) if estimated else convergence_section(table),
        parameter_section(table),
        data_section(study),
        model_section(study),
        individual_section(dt),
        gof_section(dt),
        shrinkage_section(dt),
        vpc_section(simulated),
        *([] if estimated else [loo_section(dt)]),
        made_section(dt),
    ]


def _cells(values: pd.Series, form: str) -> list[str]:
    return [form.format(v) if np.isfinite(v) else "" for v in values]
