import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.data.regimen import Regimen
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import Foce
from popbayes.infer.tree import study_of
from popbayes.observation import residual
from popbayes.parameters import priors
from popbayes.reports import report as report_module
from popbayes.reports import sections
from popbayes.reports.report import report
from popbayes.simulation import simulate
from tests.diagnostics.posed import censored_fit, posed_fit, theophylline_model, two_endpoints, with_dv

VOID = {"meta", "img", "br", "hr", "link", "input"}
SECTIONS = [
    "convergence",
    "parameters",
    "data",
    "model",
    "individual",
    "gof",
    "shrinkage",
    "vpc",
    "loo",
    "made",
]


class Page(HTMLParser):
    """Elements of a page, after checking that every one is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"<{tag}> has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    assert report(posed_fit(draws=500), path) == path
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def small(path: Path, **changes) -> str:
    """Return the page of a small study of two subjects."""
    data = Regimen(covariates={"WT": 70.0}).dose(300).sample([1, 4, 9]).to_events(subjects=2)
    model = theophylline_model(**changes)
    return report(posed_fit(model, with_dv(data, [6.0, 5.0, 3.0] * 2), draws=20), path / "r.html").read_text()


def test_the_sections_come_in_order_with_convergence_first(page):
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS
    assert [attrs["href"] for attrs in page.all("a")][1:] == [f"#{name}" for name in SECTIONS]


def test_the_page_needs_no_other_file(page):
    sources = [attrs[key] for _, attrs in page.elements for key in ("src", "href", "data") if key in attrs]
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not page.all("script")
    assert not page.all("link")


def test_no_style_fetches_anything(text):
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_is_in_a_language_with_a_title_and_headings_in_order(page):
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    assert len(page.all("h2")) == len(SECTIONS)


def test_ids_are_unique_and_every_reference_has_its_target(page):
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs}
    wanted |= {str(attrs["href"])[1:] for attrs in page.all("a")}
    assert wanted <= set(ids)


def test_every_figure_is_a_png_with_words_and_a_size(page):
    images = page.all("img")
    assert len(images) == len(page.all("figure")) == len(page.all("figcaption")) == 6
    for image in images:
        data = base64.b64decode(str(image["src"]).split(",", 1)[1], validate=True)
        assert data.startswith(b"\x89PNG")
        assert len(str(image["alt"])) > 40
        assert int(str(image["width"])) > 200


def test_table_headers_say_what_they_head(page):
    scoped = [attrs["scope"] for attrs in page.all("th") if "scope" in attrs]
    assert scoped.count("row") >= 11
    assert scoped.count("col") >= 10


def test_parameters_data_model_seed_and_versions_are_there(text):
    for words in (
        "CL_pop",
        "beta_CL_WT",
        "FIX",
        "omega[ka]",
        "corr[ka, V]",
        "132; 11 per subject",
        "elpd_loo",
        "pymc",
    ):
        assert words in text, words
    assert re.search(r"<dt>Seed</dt><dd>1</dd>", text)
    assert "A_central" in text


def test_a_fit_without_problems_says_what_was_checked(text):
    assert "No problem was found" in text
    assert 'role="alert"' not in text


@pytest.fixture(scope="module")
def poor(tmp_path_factory) -> str:
    """Page of a fit with too few draws, of a model with a dangerous name."""
    return small(tmp_path_factory.mktemp("poor"), name='<script>alert("x")</script> & co')


def test_problems_stand_before_the_parameters(poor):
    assert 'role="alert"' in poor
    assert "Too few effective draws" in poor
    assert poor.index("Too few effective draws") < poor.index('parameters-title"')
    assert "No problem was found" not in poor


def test_names_of_the_user_are_escaped(poor):
    assert "<script>" not in poor
    assert "&lt;script&gt;" in poor
    Page(poor)


def test_the_same_fit_gives_the_same_page(poor, tmp_path):
    again = small(tmp_path, name='<script>alert("x")</script> & co')
    created = re.compile(r"<dt>Made</dt><dd>[^<]*</dd>")
    assert created.sub("", poor) == created.sub("", again)


def test_a_model_without_random_effects_has_a_report_with_the_title_asked_for(tmp_path):
    model = theophylline_model(variability=None, residual=residual.Additive(priors.HalfNormal(1)))
    text = report(posed_fit(model, draws=20), tmp_path / "r.html", title="Mine").read_text(encoding="utf-8")
    assert "<title>Mine</title>" in text
    assert "The model has no random effects." in text
    Page(text)


def test_given_simulations_are_the_ones_shown(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(report_module, "all_sections", lambda _, simulated: shown.append(simulated) or [])
    dt, data = posed_fit(draws=5), load_dataset("theophylline")
    simulated = simulate(theophylline_model(), data, dt, seed=1, n=12)
    report(dt, tmp_path / "a.html", simulated=simulated)
    report(dt, tmp_path / "b.html", seed=7)
    assert shown[0] is simulated
    assert (shown[1].attrs["seed"], shown[1].attrs["etas"]) == (7, "new")


def test_what_cannot_be_checked_is_said_and_not_left_out(monkeypatch):
    dt = posed_fit(draws=5)
    dt["log_likelihood"] = xr.DataTree(
        xr.Dataset({"dv": (("chain", "draw", "obs"), np.full((4, 5, 132), np.nan))})
    )
    assert "is not finite in some draws" in sections.loo_section(dt).words[0]
    simulated = simulate(theophylline_model(), load_dataset("theophylline"), seed=1, n=5)
    simulated["prior_predictive"]["pred"][...] = -1.0
    section = sections.vpc_section(simulated)
    assert len(section.figures) == 1
    assert section.words[0].startswith("Prediction-corrected: Prediction correction is for outcomes")


def test_only_the_first_pages_of_individual_fits_are_shown_and_the_rest_counted(monkeypatch):
    monkeypatch.setattr(sections, "MOST_PAGES", 1)
    data = Regimen(covariates={"WT": 70.0}).dose(300).sample([1, 4]).to_events(subjects=14)
    section = sections.individual_section(posed_fit(data=with_dv(data, [6.0, 5.0] * 14), draws=5))
    assert len(section.figures) == 1
    assert section.words == ("The first 1 of 2 pages are shown.",)


def words(text: str) -> str:
    """What a page says: without its figures and the model as JSON."""
    text = re.sub(r'src="data:[^"]*"', "", text)
    return re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)


def test_the_report_of_an_estimate_speaks_of_no_posterior(tmp_path):
    dt = estimate(theophylline_model(), load_dataset("theophylline"), method=Foce(), seed=1, progress=False)
    text = words(report(dt, tmp_path / "r.html").read_text(encoding="utf-8"))
    shrinkage = text[text.index('id="shrinkage"') : text.index('id="vpc"')]
    assert "Conditional modes of the random effects" in text
    assert "conditional weighted residuals" in text
    assert "osterior" not in text
    assert "band (solid)" not in text
    assert "SAEM" not in text[text.index("Values and objective") :][:300]
    assert "pooling" not in shrinkage
    assert "shrinkage% (SD)" in shrinkage


def test_the_report_of_a_fit_speaks_of_posterior_means(text):
    assert "Posterior means of the random effects" in text
    assert "prediction with its 90 % band (solid)" in text
    assert "pooling factor%" in text
    assert "triangles" not in words(text)


def test_captions_say_what_triangles_are():
    dt = censored_fit()
    assert "triangles: known only to lie beyond" in sections.individual_section(dt).figures[0].caption
    assert "Hollow triangles" in sections.gof_section(dt).figures[0].caption


def test_shrinkage_of_residuals_is_by_endpoint():
    html = str(sections.shrinkage_section(two_endpoints()).html)
    assert "epsilon[conc]" in html
    assert "epsilon[A_central]" in html


def test_the_caption_of_the_check_says_which_band_is_whose(text):
    for words in ("blue: 5 %", "orange-red: 50 %", "green: 95 %", "thin line in each: its median"):
        assert words in text
    assert "Panel below" not in text


def test_the_caption_of_the_check_says_what_is_in_the_panel_below():
    dt = censored_fit()
    study = study_of(dt)
    simulated = simulate(study.model, study.events, dt, seed=1, n=10)
    assert all("Panel below: percentage" in one.caption for one in sections.vpc_section(simulated).figures)
