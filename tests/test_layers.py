"""The house of design.md as a table: who may import whom, checked on the syntax tree of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "popbayes"

# One way only: a module imports from its own layer and from the layers before it.
LAYERS = (
    "dims",
    "wording",
    "data",
    "engine",
    "structural",
    "parameters",
    "observation",
    "model",
    "building",
    "infer",
    "simulation",
    "diagnostics",
    "plots",
    "reports",
    "cli",
    "__main__",
)
WITHOUT_PYTENSOR = {"dims", "wording", "data"}
WITHOUT_PYMC = {"dims", "wording", "data", "engine", "structural", "parameters", "observation", "model"}
AFTER_THE_TREE = {"diagnostics", "plots", "reports"}
HEAVY = (
    "arviz_base",
    "arviz_plots",
    "arviz_stats",
    "matplotlib",
    "numba",
    "nutpie",
    "pandas",
    "pymc",
    "pytensor",
)
MOST_LINES = 400
MOST_FUNCTION_LINES = 60


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def layer(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else None


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree: ast.AST, *, in_functions: bool) -> Iterator[tuple[str, int]]:
    """Names of the modules imported at module level, or inside functions, with the line."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, int]]:
        if is_type_checking(node):
            return
        if inside == in_functions and isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        if inside == in_functions and isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES else str(node.module)), node.lineno
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(tree, False)


def at_import(name: str) -> set[str]:
    """Every module that importing `name` imports, popbayes' own packages followed."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in TREES:
            parents = {current.rsplit(".", level)[0] for level in range(1, current.count(".") + 1)}
            waiting += [*parents, *(target for target, _ in imported(TREES[current], in_functions=False))]
    return seen


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_every_module_belongs_to_a_layer():
    unknown = {name for name in MODULES if layer(name) not in (*LAYERS, None)}
    assert not unknown, f"not in the layer table: {sorted(unknown)}"
    assert {layer(name) for name in MODULES} >= {"data", "engine", "structural", "parameters", "observation"}


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name)])
def test_no_layer_imports_a_later_one(name):
    own = LAYERS.index(str(layer(name)))
    for when in (False, True):
        for target, line in imported(TREES[name], in_functions=when):
            shown = layer(name) == "cli" or target != "popbayes"
            assert shown, f"{name}:{line} imports the public names: import from the module that has them"
            if target.startswith("popbayes."):
                theirs = LAYERS.index(str(layer(target)))
                assert theirs <= own, f"{name}:{line} ({LAYERS[own]}) imports {target} ({LAYERS[theirs]})"


@pytest.mark.parametrize("name", MODULES)
def test_popbayes_is_never_imported_inside_a_function(name):
    hidden = [t for t, _ in imported(TREES[name], in_functions=True) if t.split(".")[0] == "popbayes"]
    assert not hidden, f"{name} hides {hidden} in a function: break the cycle instead"


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name)])
def test_pymc_and_pytensor_stay_in_their_layers(name):
    direct = {t for when in (False, True) for t, _ in imported(TREES[name], in_functions=when)}
    if layer(name) in WITHOUT_PYMC | AFTER_THE_TREE:
        assert "pymc" not in roots(direct | at_import(name)), f"{name} leads to pymc"
    if layer(name) in WITHOUT_PYTENSOR:
        assert "pytensor" not in roots(direct | at_import(name)), f"{name} leads to pytensor"


def test_import_popbayes_leaves_heavy_packages_alone():
    code = f"import sys, popbayes; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_stay_short(name):
    lines = MODULES[name].read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, f"{name} has {lines} lines (at most {MOST_LINES}): split it by responsibility"
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= MOST_FUNCTION_LINES, (
                f"{name}.{node.name} has {length} lines without its docstring"
            )


def test_no_module_is_named_after_nothing():
    vague = {"utils", "helpers", "common", "misc", "manager", "util", "helper"}
    assert not [name for name in MODULES if name.split(".")[-1] in vague]
