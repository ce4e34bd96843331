"""The arithmetic of what a training takes."""

import pytest

from highway.config import LanguageModelConfig, ModelConfig
from highway.cost import training_work


@pytest.mark.parametrize("model", [ModelConfig(core="lstm", depth=1), ModelConfig(layers=2)])
def test_other_recurrences_are_not_counted_as_highway_layers(model):
    with pytest.raises(ValueError, match=r"one layer .*rhn"):
        training_work(LanguageModelConfig(model=model), 100, 10_000)
