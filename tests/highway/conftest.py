"""Fixtures of the tests of `highway`."""

import pytest


@pytest.fixture(scope="session")
def shakespeare(tmp_path_factory):
    """Real text: tiny Shakespeare, prepared in a folder of the tests' own."""
    from common.datasets import load

    return load("tiny_shakespeare", cache_dir=tmp_path_factory.mktemp("cache"), download=False)
