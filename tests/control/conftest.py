"""What the tests of the control node's package share."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent / "control"), str(TESTS)]

import repositories  # noqa: E402 - found through the line above


@pytest.fixture
def app(tmp_path):
    return repositories.made(tmp_path)
