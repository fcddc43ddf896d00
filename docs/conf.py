"""Sphinx settings. Build: ``uv run --group docs sphinx-build -W docs docs/_build/html``."""

import itertools
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


API = Path(__file__).parent / "api"
PAGES = API / "generated"
"""Where pages are written that no one keeps: one for each group of names, so that menus stay short."""


def group_page(title: str, names: list[str], more: str = "") -> str:
    """Give the page of some names, with a page for each of them below it."""
    listed = [f"   {name}" for name in names]
    head = [f"# {title}", "", "```{eval-rst}", ".. currentmodule:: popbayes", ""]
    return "\n".join([*head, ".. autosummary::", "   :toctree: .", "", *listed, "```", "", more]) + "\n"


def groups(index: str) -> dict[str, list[str]]:
    """Give the names under each heading of the page of the API."""
    found: dict[str, list[str]] = {}
    for line, below in itertools.pairwise(index.splitlines()):
        if below.startswith("---"):
            found[line] = []
        elif line.startswith("   ") and ":" not in line:
            found[next(reversed(found))].append(line.strip())
    return found


def toctree(pages: list[str]) -> str:
    """Give the lines that put pages into the menu."""
    return "\n".join([":::{toctree}", ":maxdepth: 1", "", *pages, ":::"]) + "\n"


def write_api() -> list[str]:
    """Write the pages of the groups and namespaces, and that which lists the namespaces; give the former."""
    pages = {}
    for title, names in groups((API / "index.md").read_text(encoding="utf-8")).items():
        pages[title.split()[0].lower()] = group_page(title, names, TABLE if title == "Diagnostics" else "")
    for space, words in NAMESPACES.items():
        names = [f"{space}.{name}" for name in getattr(popbayes, space).__all__]
        pages[space] = group_page(f"`{space}`: {words}", names)
    PAGES.mkdir(exist_ok=True)
    for name, text in pages.items():
        (PAGES / f"{name}.md").write_text(text, encoding="utf-8")
    usage = f"```python\nfrom popbayes import {', '.join(sorted(NAMESPACES))}\n```"
    listed = toctree([f"generated/{space}" for space in NAMESPACES])
    (API / "namespaces.md").write_text(f"# The namespaces\n\n{usage}\n\n{listed}", encoding="utf-8")
    return [f"api/generated/{name}.md" for name in pages]


TABLE = """## Table

What `summary`, `compare`, `prior_table`, `covariate_table`, `traps` and `pool` return.

```{eval-rst}
.. autoclass:: popbayes.diagnostics.result.Table
   :members: to_frame, to_csv
```
"""

LISTED = write_api()

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

autosummary_generate = LISTED  # by name: an earlier build does not know of pages just written
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
