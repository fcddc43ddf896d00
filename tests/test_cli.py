"""The command line: what a newcomer types, right and wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from popbayes import cli


@pytest.fixture
def popbayes(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; returns exit code, output and error output."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.app(list(words))
        code = stop.value.code
        return (0 if code is None else int(code)), *capsys.readouterr()

    return call


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_new_copies_a_template_that_compiles_and_has_at_most_100_lines(popbayes):
    code, out, _ = popbayes("new", "pk_oral_1cmt", "my_study")
    copy = Path("my_study/pk_oral_1cmt.py")
    assert code == 0
    assert str(copy) in out
    compile(copy.read_text(encoding="utf-8"), str(copy), "exec")
    assert len(copy.read_text(encoding="utf-8").splitlines()) <= 100


def test_new_never_overwrites(popbayes):
    popbayes("new", "pk_oral_1cmt", "my_study")
    Path("my_study/pk_oral_1cmt.py").write_text("mine", encoding="utf-8")
    code, _, err = popbayes("new", "pk_oral_1cmt", "my_study")
    assert code == 1
    assert "is there already" in err
    assert Path("my_study/pk_oral_1cmt.py").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new", "pk_oral", "x"], r"No template is called 'pk_oral'. Did you mean 'pk_oral_1cmt'?"),
        (["run", "theophyline"], r"No case study is called 'theophyline'. Did you mean 'theophylline'?"),
        (["run", "mine.py"], r"There is no analysis script 'mine.py'"),
        (["check", "mine.csv"], r"There is no file 'mine.csv'"),
        (["report", "fit.nc"], r"There is no fit 'fit.nc'"),
    ],
)
def test_a_wrong_name_ends_in_one_message_and_code_1(popbayes, words, message):
    code, out, err = popbayes(*words)
    assert code == 1
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert "Traceback" not in err


def test_run_hands_the_folder_to_the_script_and_restores_the_command_line(popbayes):
    script = write(Path("a.py"), "import sys; print(sys.argv[1:], __name__)")
    before = list(sys.argv)
    assert popbayes("run", script, "--out", "there")[1] == "['there'] __main__\n"
    assert popbayes("run", script)[1] == "[] __main__\n"
    assert sys.argv == before


def test_run_finds_modules_beside_the_script(popbayes):
    Path("d").mkdir()
    write(Path("d/beside_the_script.py"), "x = 7")
    script = write(Path("d/a.py"), "import beside_the_script; print(beside_the_script.x)")
    assert popbayes("run", script)[1] == "7\n"


def test_an_error_in_a_script_names_its_line_and_the_traceback_is_on_request(popbayes):
    script = write(Path("a.py"), "x = 1\nraise ValueError('TIME must not decrease')\n")
    code, _, err = popbayes("run", script)
    assert code == 1
    assert err.startswith("error: TIME must not decrease\n")
    assert "line 2: raise ValueError('TIME must not decrease')" in err
    with pytest.raises(ValueError, match="TIME must not decrease"):
        cli.app(["run", script, "--traceback"])


def test_warnings_are_shown_as_one_line(popbayes):
    script = write(Path("a.py"), "import warnings\nwarnings.warn('subject 3 has no observations')\n")
    assert popbayes("run", script)[2] == "warning: subject 3 has no observations\n"


def test_check_prints_the_summary_and_explains_a_subject(popbayes):
    table = write(Path("t.csv"), "ID,TIME,AMT,DV,EVID\n1,0,100,.,1\n1,1,.,3.5,0\n2,0,100,.,1\n2,2,.,2.5,0\n")
    code, out, err = popbayes("check", table, "--explain", "2")
    assert code == 0, err
    assert re.search(r"Subjects +2\n", out)
    assert "dose of 100 added" in out.split("Subject 2")[1]


def test_check_says_what_is_wrong_and_where(popbayes):
    table = write(Path("t.csv"), "ID,TIME,AMT,DV,EVID\n1,0,100,.,1\n1,2,.,3.5,0\n1,1,.,2.5,0\n")
    code, out, err = popbayes("check", table)
    assert code == 1
    assert out == ""
    assert err.startswith("error: TIME must not decrease")
    assert "row 3" in err


def test_check_explains_no_subject_that_is_not_there(popbayes):
    table = write(Path("t.csv"), "ID,TIME,AMT,DV,EVID\n1,0,100,.,1\n1,1,.,3.5,0\n")
    code, _, err = popbayes("check", table, "--explain", "9")
    assert code == 1
    assert "No subject is called '9'. There are: 1." in err


def test_datasets_lists_the_bundled_studies(popbayes):
    code, out, _ = popbayes("datasets")
    assert code == 0
    for name in ("theophylline", "indometh", "phenobarb", "quinidine"):
        assert name in out


def test_the_installed_command_answers():
    command = Path(sys.executable).with_name("popbayes")
    run = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.strip()[0].isdigit()
