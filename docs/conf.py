"""Sphinx settings. Build: ``uv run --group docs sphinx-build -W docs docs/_build/html``."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

import popbayes

NAMESPACES = {
    "pk": "pharmacokinetics and absorption",
    "pd": "pharmacodynamics",
    "ode": "differential equations",
    "prior": "distributions, by PyMC's names",
    "covariate": "effects of covariates",
    "variability": "random effects",
    "residual": "residual error",
    "outcome": "counts, categories and events in time",
    "censoring": "observations beyond a limit",
}

# autodoc finds a thing by the name of its module: `popbayes.prior.LogNormal` is what users write
for space in NAMESPACES:
    sys.modules[f"popbayes.{space}"] = getattr(popbayes, space)


def namespace_page() -> str:
    """Give the page of the namespaces, with every name of each `__all__`."""
    lines = [
        "# The namespaces",
        "",
        "```python",
        f"from popbayes import {', '.join(sorted(NAMESPACES))}",
        "```",
    ]
    for space, words in NAMESPACES.items():
        names = [f"   {space}.{name}" for name in getattr(popbayes, space).__all__]
        lines += ["", f"## `{space}`: {words}", "", "```{eval-rst}", ".. currentmodule:: popbayes", ""]
        lines += [".. autosummary::", "   :toctree: generated", "", *names, "```"]
    return "\n".join(lines) + "\n"


(Path(__file__).parent / "api" / "namespaces.md").write_text(namespace_page(), encoding="utf-8")

project = "popbayes"
author = "The popbayes developers"
project_copyright = "The popbayes developers, Apache-2.0"
version = release = version_of("popbayes")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "jupyter_execute", "README.md"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"popbayes {version}"
html_show_sphinx = False

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
