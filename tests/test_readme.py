"""The README's example runs as it stands, on fewer draws."""

import functools
from pathlib import Path

import popbayes as pb

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs_and_has_ten_lines(monkeypatch, tmp_path, capsys):
    (example,) = README.read_text(encoding="utf-8").split("```python\n")[1:]
    example = example.split("```")[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pb, "fit", functools.partial(pb.fit, draws=150, tune=300, progress=False))
    exec(compile(example, str(README), "exec"), {})
    assert "CL_pop" in capsys.readouterr().out
    assert (tmp_path / "theophylline.html").stat().st_size > 10_000
    assert len([line for line in example.splitlines() if line and "import" not in line]) == 10


def test_the_readme_names_files_that_exist():
    text = README.read_text(encoding="utf-8")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    assert not [link for link in links if not (README.parent / link).exists()]
