"""The command line: run | new | check | report | datasets.

A mistake of the user's ends in one plain message on the error stream and exit code 1 (2 for a command line
that cannot be read); a traceback is shown on request only.
"""

import contextlib
import difflib
import runpy
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

import popbayes as pb

USER_ERRORS = (ValueError, LookupError, NotImplementedError, OSError)

app = App(
    name="popbayes",
    help="Fully Bayesian population pharmacokinetics and pharmacodynamics.",
    version=pb.__version__,
    help_format="plaintext",
)


def say(text: object, *, error: bool = False) -> None:
    """Write to the terminal as it is: no wrapping, no markup."""
    Console(stderr=error, soft_wrap=True, markup=False, highlight=False).print(str(text))


def shipped(kind: str) -> Path:
    """Folder of `templates` or `case_studies`: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    inside = package / f"_{kind}"
    return inside if inside.is_dir() else package.parent / kind


def studies() -> dict[str, Path]:
    """Case studies by name, with the script of each."""
    return {path.parent.name: path for path in sorted(shipped("case_studies").glob("*/analysis.py"))}


def templates() -> dict[str, Path]:
    """Templates by name, with the script of each."""
    return {path.stem: path for path in sorted(shipped("templates").glob("*.py"))}


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Say that `name` is not known, which names are, and the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"No {kind} is called {name!r}.{hint} There are: {', '.join(names)}.")


def script_for(what: str) -> Path:
    """Path of the analysis script that `what` names: a file, or a case study."""
    path = Path(what)
    if path.is_file():
        return path
    if path.suffix == ".py" or len(path.parts) > 1:
        raise FileNotFoundError(f"There is no analysis script {what!r} (looked in {Path.cwd()}).")
    if what not in studies():
        raise unknown("case study", what, studies())
    return studies()[what]


@contextlib.contextmanager
def arguments(*words: str) -> Iterator[None]:
    """Let a script see `words` as its command line and its own folder first on the import path."""
    before = sys.argv, sys.path
    sys.argv, sys.path = list(words), [str(Path(words[0]).parent), *sys.path]
    try:
        yield
    finally:
        sys.argv, sys.path = before


def place_in(script: Path, error: BaseException) -> str:
    """Line of `script` that `error` went through, as text."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == script]
    return f"\n  in {script}, line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


@contextlib.contextmanager
def plain_errors(*, traceback_wanted: bool = False, script: Path | None = None) -> Iterator[None]:
    """Turn what the user can mend into one message and exit code 1."""
    try:
        yield
    except USER_ERRORS as error:
        if traceback_wanted:
            raise
        words = error.args[0] if isinstance(error, KeyError) and error.args else error
        place = place_in(script, error) if script else ""
        hint = "\n  (--traceback shows where it was raised)" if script else ""
        say(f"error: {words}{place}{hint}", error=True)
        sys.exit(1)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings as one line each, without file and line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(f"warning: {message}", error=True)
        yield


@app.command
def run(what: str, *, out: Path | None = None, traceback: bool = False) -> None:
    """Run a case study or an analysis script, with progress shown.

    Parameters
    ----------
    what
        Name of a case study (`theophylline`) or path of an analysis script.
    out
        Folder for the results, handed to the script as its first argument.
        A case study writes to a folder of its own name if this is not given.
    traceback
        Show the full traceback of an error.
    """
    with plain_errors():
        script = script_for(what).resolve()
    folder = out or (Path(what) if what in studies() else None)
    words = [str(script), *([str(folder)] if folder else [])]
    with plain_errors(traceback_wanted=traceback, script=script), plain_warnings(), arguments(*words):
        runpy.run_path(str(script), run_name="__main__")


@app.command
def new(template: str, directory: Path = Path()) -> None:
    """Copy a template, a runnable analysis script, to a folder of yours.

    Parameters
    ----------
    template
        Name of the template, such as `pk_oral_1cmt`.
    directory
        Folder to put it in, made if it is not there; this one if not given.
    """
    with plain_errors():
        if template not in templates():
            raise unknown("template", template, templates())
        target = directory / f"{template}.py"
        if target.exists():
            raise FileExistsError(f"{target} is there already; choose another folder or remove it.")
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(templates()[template], target)
    say(f"Wrote {target}. Run it with: popbayes run {target}")


@app.command
def check(
    file: Path,
    *,
    covariates: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    explain: str | None = None,
) -> None:
    """Read an event table and print what is in it, or what is wrong with it.

    Parameters
    ----------
    file
        CSV file with the columns ID, TIME, AMT, DV, EVID ...
    covariates
        Names of the covariate columns to read.
    explain
        A subject's ID: say record by record what its events mean.
    """
    with plain_errors(), plain_warnings():
        if not file.is_file():
            raise FileNotFoundError(f"There is no file {str(file)!r} (looked in {Path.cwd()}).")
        data = pb.read_events(file, covariates=covariates or [])
        say(data)
        if explain is not None:
            say(data.explain(subject_called(explain, data.subjects.tolist())))


def subject_called(text: str, subjects: Sequence[object]) -> object:
    """Find the label among `subjects` that is written as `text`."""
    named = {str(subject): subject for subject in subjects}
    if text not in named:
        raise unknown("subject", text, named)
    return named[text]


@app.command
def report(fit: Path, out: Path | None = None) -> None:
    """Write the report of a saved fit: one HTML page that needs no other file.

    Parameters
    ----------
    fit
        The fit, as `pb.save` wrote it (`fit.nc`).
    out
        The page to write; the fit's name with `.html` if not given.
    """
    with plain_errors(), plain_warnings():
        if not fit.exists():
            raise FileNotFoundError(f"There is no fit {str(fit)!r} (looked in {Path.cwd()}).")
        page = out or fit.with_suffix(".html")
        pb.report(pb.load(fit), page)
    say(f"Wrote {page}.")


@app.command
def datasets() -> None:
    """List the bundled studies that `pb.load_dataset` reads."""
    for study in pb.list_datasets().itertuples():
        say(f"{study.name}: {study.subjects} subjects, {study.observations} observations")
        say(f"    {study.description}\n    {pb.load_dataset(str(study.name)).source}")


def main() -> None:
    """Entry point of the `popbayes` command."""
    app()
