"""Sharing work among threads."""

import threading

import pytest

from popbayes.engine.threads import shared_out


@pytest.mark.parametrize("number", [0, 1, 2, 7])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_part_is_done_once(number, threads):
    done = []
    shared_out(done.append, list(range(number)), threads)
    assert sorted(done) == list(range(number))


def test_two_threads_work_at_the_same_time():
    together = threading.Barrier(2, timeout=60)  # each waits for the other: one thread would never pass
    seen = []
    shared_out(lambda part: seen.append((together.wait(), part)), ["a", "b"], 2)
    assert sorted(part for _, part in seen) == ["a", "b"]


@pytest.mark.parametrize("bad", [0, 1])
def test_what_a_part_raises_is_raised(bad):
    def call(part):
        if part == bad:
            raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match=f"part {bad}"):
        shared_out(call, [0, 1], 2)
