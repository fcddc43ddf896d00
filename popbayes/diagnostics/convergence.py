"""Whether the chains can be trusted, said in plain words with what to try."""

from dataclasses import dataclass

import arviz_stats
import numpy as np
import xarray as xr

from popbayes.diagnostics.population import estimated_draws
from popbayes.dims import CHAIN, DRAW, ETA, ETA_OF, SAMPLE_STATS, SUBJECT
from popbayes.infer.tree import study_of
from popbayes.model import Row

MOST_RHAT = 1.01
FAR_RHAT = 1.05
"""R-hat above which chains are in different places, rather than too short."""
LEAST_ESS = 400.0
LEAST_BFMI = 0.3
MOST_NAMED = 3
"""Quantities named in a message; the rest are counted."""


@dataclass(frozen=True, eq=False)
class Mixing:
    """R-hat and effective sample sizes of some quantities.

    Attributes
    ----------
    labels : (n,) names
    rhat, ess_bulk, ess_tail : (n,); nan where a quantity never moved, or there are too few draws
    moved : (n,) whether a quantity took more than one value
    """

    labels: list[str]
    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    moved: np.ndarray


def mixing(labels: list[str], values: np.ndarray) -> Mixing:
    """Rank-normalised split R-hat, bulk and tail ESS; `values` is (chain, draw, n).

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Bayesian Analysis* 16 (2021) 667-718.
    """
    n, few = len(labels), values.shape[1] < 4
    if n == 0 or few:
        none = np.full(n, np.nan)
        return Mixing(labels, none, none, none, np.ones(n, dtype=bool))
    moved = np.ptp(values, axis=(0, 1)) > 0
    rhat, bulk, tail = (np.full(n, np.nan) for _ in range(3))
    array = xr.DataArray(values[:, :, moved], dims=(CHAIN, DRAW, "quantity"))
    if moved.any():
        bulk[moved] = arviz_stats.ess(array, method="bulk").to_numpy()
        tail[moved] = arviz_stats.ess(array, method="tail").to_numpy()
    if moved.any() and values.shape[0] > 1:
        rhat[moved] = arviz_stats.rhat(array).to_numpy()
    return Mixing(labels, rhat, bulk, tail, moved)


def eta_draws(draws: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """Labels and draws, (chain, draw, n), of every subject's random effects."""
    if ETA not in draws:
        return [], np.empty((draws.sizes[CHAIN], draws.sizes[DRAW], 0))
    eta = draws[ETA].transpose(CHAIN, DRAW, SUBJECT, ETA_OF)
    labels = [f"eta[{s}, {p}]" for s in eta[SUBJECT].to_numpy() for p in eta[ETA_OF].to_numpy()]
    return labels, eta.to_numpy().reshape(*eta.shape[:2], -1)


def convergence_messages(dt: xr.DataTree, draws: xr.Dataset, rows: list[Row]) -> tuple[str, ...]:
    """Everything that speaks against trusting a fit; empty where nothing does.

    R-hat above 1.01, bulk or tail ESS below 400, of the population quantities and of every subject's random
    effects; divergences; BFMI below 0.3; chains that did not move; a single chain.
    """
    population, etas = estimated_draws(rows, draws), eta_draws(draws)
    labels, values = population[0] + etas[0], np.concatenate([population[1], etas[1]], axis=-1)
    measured = mixing(labels, values)
    stats = dt[SAMPLE_STATS].to_dataset() if SAMPLE_STATS in dt.children else xr.Dataset()
    n_chain, n_draw = values.shape[:2]
    found = [
        _too_few(n_chain, n_draw),
        _stuck(measured),
        _rhat(measured),
        _ess(measured, n_chain * n_draw, _told_where(dt)),
        _divergences(stats),
        _bfmi(stats),
    ]
    return tuple(message for message in found if message)


def _too_few(n_chain: int, n_draw: int) -> str:
    if n_draw < 4:
        return (
            f"With {n_draw} draws a chain nothing can be said about convergence, nor should be about the "
            "model. Sample again with draws=1000 or more."
        )
    if n_chain == 1:
        return (
            "There is only one chain, so that R-hat cannot tell whether chains agree. "
            "Sample again with chains=4."
        )
    return ""


def _stuck(measured: Mixing) -> str:
    bad = np.flatnonzero(~measured.moved)
    if len(bad) == 0:
        return ""
    return (
        f"{len(bad)} of {len(measured.labels)} quantities never moved ({_names(measured.labels, bad)}): "
        "no draw was accepted. The fit is useless. Look for a prior or a start at which the density is not "
        "finite, and sample again."
    )


def _rhat(measured: Mixing) -> str:
    bad = np.flatnonzero(measured.rhat > MOST_RHAT)
    if len(bad) == 0:
        return ""
    worst = bad[np.argsort(-measured.rhat[bad], kind="stable")]
    far = measured.rhat[worst[0]] > FAR_RHAT
    verdict = "Do not use these results." if far else "Draw more before you report results."
    return (
        f"The chains do not agree: R-hat is above {MOST_RHAT} for {len(bad)} of {len(measured.labels)} "
        f"quantities (worst: {_names(measured.labels, worst, measured.rhat, '{:.3f}')}). {verdict} Try more "
        "warm-up and draws (tune=2000, draws=2000); pb.traps(dt) tells whether chains are in different modes."
    )


def _told_where(dt: xr.DataTree) -> bool:
    """Whether the model says of any random effects in which coordinates they are sampled."""
    return any(getattr(one, "centred", None) is not None for one in study_of(dt).model.variability)


def _ess(measured: Mixing, total: int, told: bool) -> str:
    lowest = np.fmin(measured.ess_bulk, measured.ess_tail)
    bad = np.flatnonzero(lowest < LEAST_ESS)
    if len(bad) == 0:
        return ""
    worst = bad[np.argsort(lowest[bad], kind="stable")]
    factor = LEAST_ESS / max(float(lowest[worst[0]]), 1.0)
    remedy = (
        f"about {factor:.1f} times as many draws are needed" if factor < 10 else "many more draws are needed"
    )
    spread = any(measured.labels[at].startswith(("omega", "eta")) for at in worst[:MOST_NAMED])
    more = " Leave the choice of centred= in variability to fit: centred=None." if spread and told else ""
    return (
        f"Too few effective draws: fewer than {LEAST_ESS:.0f} of {total} for {len(bad)} of "
        f"{len(measured.labels)} quantities (worst: {_names(measured.labels, worst, lowest, '{:.0f}')}), so "
        f"that their means and intervals are rough; {remedy}.{more}"
    )


def _divergences(stats: xr.Dataset) -> str:
    if "diverging" not in stats:
        return "The DataTree holds no statistics of the sampler, so that divergences cannot be counted."
    count, total = int(stats["diverging"].sum()), stats["diverging"].size
    if count == 0:
        return ""
    return (
        f"{count} of {total} draws diverged: there is a region that the sampler cannot enter, and the "
        "results leave it out. Try target_accept=0.95 or 0.99; then the other parametrisation (centred=False "
        "if an omega is near 0, centred=True if the data on each subject are rich), or a prior that keeps "
        "omega away from 0."
    )


def _bfmi(stats: xr.Dataset) -> str:
    if "energy" not in stats or stats.sizes[DRAW] < 4:
        return ""
    values = np.atleast_1d(arviz_stats.bfmi(stats)["energy"].to_numpy())
    bad = np.flatnonzero(values < LEAST_BFMI)
    if len(bad) == 0:
        return ""
    chains = ", ".join(f"{chain} ({values[chain]:.2f})" for chain in bad)
    return (
        f"Energy moves too slowly (BFMI below {LEAST_BFMI}) in chain {chains}: tails, most often of an "
        "omega, are explored badly. Try the other parametrisation (centred=), a tighter prior on omega, and "
        "more warm-up (tune=2000)."
    )


def _names(labels: list[str], index: np.ndarray, values: np.ndarray | None = None, form: str = "") -> str:
    """Name the first few, with their values."""
    named = [
        labels[i] if values is None else f"{labels[i]} {form.format(values[i])}" for i in index[:MOST_NAMED]
    ]
    more = len(index) - MOST_NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
