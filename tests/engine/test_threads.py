"""Sharing work among threads."""

import os
import subprocess
import sys
import threading

import pytest

from popbayes.engine.threads import shared_out


@pytest.mark.parametrize("number", [0, 1, 2, 7])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_part_is_done_once(number, threads):
    done = []
    shared_out(done.extend, list(range(number)), threads)
    assert sorted(done) == list(range(number))


def test_two_threads_work_at_the_same_time():
    together = threading.Barrier(2, timeout=60)  # each waits for the other: one thread would never pass
    seen = []

    def call(share):
        together.wait()
        seen.extend(share)

    shared_out(call, ["a", "b"], 2)
    assert sorted(seen) == ["a", "b"]


def test_a_thread_that_is_slow_gets_fewer_parts():
    """One thread waits, with its first part, until the other has done all that is left."""
    rest_done = threading.Event()
    shares = []

    def call(share):
        own = [next(share)]
        if own == [0]:
            assert rest_done.wait(timeout=60)
        own.extend(share)
        rest_done.set()
        shares.append(own)

    shared_out(call, [0, 1, 2, 3], 2)
    assert sorted(shares) == [[0], [1, 2, 3]]


@pytest.mark.parametrize("bad", [0, 1])
def test_what_a_part_raises_is_raised(bad):
    def call(share):
        if bad in share:
            raise ValueError(f"part {bad}")

    with pytest.raises(ValueError, match=f"part {bad}"):
        shared_out(call, [0, 1], 2)


FORKED = """
import os, signal, warnings
from popbayes.engine.threads import shared_out

shared_out(list, [0, 1], 2)  # the parent's threads are there, and are not in the child
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: that is the point
child = os.fork()
if child == 0:
    signal.alarm(60)
    done = []
    shared_out(done.extend, [0, 1], 2)
    os._exit(0 if sorted(done) == [0, 1] else 1)
assert os.waitpid(child, 0)[1] == 0
print("both done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_threads_of_its_own():
    """In a process of its own: other libraries that a test process has loaded object to forks."""
    run = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=300)
    assert run.stdout == "both done\n", run.stderr
