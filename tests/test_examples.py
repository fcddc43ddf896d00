"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import popbayes

NAMES = sorted(
    m.name for m in pkgutil.walk_packages(popbayes.__path__, "popbayes.") if "_templates" not in m.name
)


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings_print_what_they_say(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0, (
        f"{found.failed} of {found.attempted} examples of {name} failed (see the output)"
    )
