import numpy as np

from popbayes.infer.chains import cut, rectangle


def test_unequal_chains_are_cut_to_the_rectangle_with_the_most_draws():
    chains, length = rectangle(np.array([100, 3, 90, 0]))
    assert chains.tolist() == [0, 2]
    assert length == 90


def test_equal_chains_are_all_kept():
    chains, length = rectangle(np.array([50, 50, 50]))
    assert (chains.tolist(), length) == ([0, 1, 2], 50)


def test_no_draws_are_no_rectangle():
    assert rectangle(np.array([0, 0]))[1] == 0


def test_cut_keeps_the_first_draws_of_the_kept_chains():
    values = np.arange(12).reshape(3, 4)
    assert cut({"x": values}, np.array([0, 2]), 2)["x"].tolist() == [[0, 1], [8, 9]]
