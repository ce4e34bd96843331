"""Compositions and their scores, computed once for all tests of the music-theory reward."""

import jax
import music_compositions
import pytest

from tutor.music.theory import score_composition


@pytest.fixture(scope="session")
def pieces():
    return music_compositions.everything(seed=1, n=2200)


@pytest.fixture(scope="session")
def scores(pieces):
    return jax.device_get(score_composition(pieces))
