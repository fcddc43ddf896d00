"""The public names: each resolves, is documented, and is on the page of the API."""

import ast
import inspect
import types
from pathlib import Path

import pytest

import popbayes as pb

ROOT = Path(__file__).parents[1]
NAMESPACES = ("covariate", "ode", "pd", "pk", "prior", "residual", "censoring", "outcome", "variability")
PROMISED = """
    EventTable read_events Regimen load_dataset list_datasets
    PopModel Parameter build fit estimate FirstOrder Foce Laplace Quadrature Saem
    solve sequential simulate save load report add_log_likelihood
    summary pool prior_table covariate_table shrinkage traps
    gof vpc loo waic compare iterations
    plot_individual plot_gof plot_vpc plot_shrinkage plot_forest plot_iterations
    ode pd pk prior covariate variability residual censoring outcome
""".split()


def stub_names() -> set[str]:
    stub = ast.parse((ROOT / "popbayes" / "__init__.pyi").read_text(encoding="utf-8"))
    return {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def public_in(namespace: types.ModuleType) -> list[str]:
    return [name for name in namespace.__all__ if not name.startswith("_")]


def test_the_stub_the_package_and_the_contract_have_the_same_names():
    assert set(pb.__all__) == stub_names() == set(PROMISED)


def test_there_are_at_most_50_public_names():
    assert len(pb.__all__) <= 50


@pytest.mark.parametrize("name", PROMISED)
def test_every_public_name_resolves_and_has_a_docstring(name):
    thing = getattr(pb, name)
    assert inspect.getdoc(thing), f"pb.{name} has no docstring"
    assert isinstance(thing, types.ModuleType) == (name in NAMESPACES)


@pytest.mark.parametrize("space", NAMESPACES)
def test_every_name_of_a_namespace_has_a_docstring_of_its_own(space):
    namespace = getattr(pb, space)
    assert public_in(namespace)
    for name in public_in(namespace):
        assert getattr(namespace, name).__doc__, f"pb.{space}.{name} has no docstring"


@pytest.mark.parametrize("name", [n for n in PROMISED if n not in NAMESPACES])
def test_seed_and_unit_are_keyword_only_everywhere(name):
    parameters = inspect.signature(getattr(pb, name)).parameters
    for word in ("seed", "unit"):
        if word in parameters and name != "Parameter":
            assert parameters[word].kind is inspect.Parameter.KEYWORD_ONLY, f"pb.{name}({word}=)"
    order = [word for word in parameters if word in ("model", "data", "dt")]
    assert order == [word for word in ("model", "data", "dt") if word in order]


def test_the_api_page_lists_every_public_name_once():
    page = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    listed = [line.strip() for line in page.splitlines() if line.startswith("   ") and ":" not in line]
    assert sorted(listed) == sorted(set(pb.__all__) - set(NAMESPACES))
