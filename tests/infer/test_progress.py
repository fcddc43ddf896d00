from popbayes.infer.progress import ChainProgress, working


def test_a_log_gets_a_line_with_iterations_and_divergences(capsys):
    with ChainProgress("nutpie", chains=2, total=50, show=True) as progress:
        progress.update(0, done=50, divergences=1, step_size=0.3, n_steps=7)
        progress.update(1, done=40, divergences=2, step_size=0.3, n_steps=7)
    assert "nutpie: 90 of 100 iterations, 3 divergences" in capsys.readouterr().err


def test_a_notebook_gets_a_row_for_each_chain():
    progress = ChainProgress("nutpie", chains=2, total=50, show=True)
    progress.states[1].done = 25
    html = progress.table()
    assert html.count("<progress") == 2
    assert "<td>25/50</td>" in html


def test_no_progress_says_nothing(capsys):
    with working("compiling", show=False), ChainProgress("nutpie", 1, 10, show=False) as progress:
        progress.update(0, 10, 0, 0.1, 3)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
