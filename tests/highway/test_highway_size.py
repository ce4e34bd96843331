"""Parameter counts against the tables of docs/published.md and against the models themselves."""

import jax
import pytest
from flax import nnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from highway.config import ModelConfig
from highway.language_model import LanguageModel
from highway.size import parameter_count, units_for_budget

# depth, units, tied, untied: word-level Penn Treebank, vocabulary 10,000
PENN_TREEBANK = [
    (1, 1275, 19_265_050, 32_015_050),
    (2, 1180, 20_169_120, 31_969_120),
    (3, 1110, 20_973_460, 32_073_460),
    (4, 1050, 21_543_400, 32_043_400),
    (5, 1000, 22_020_000, 32_020_000),
    (6, 960, 22_523_920, 32_123_920),
    (7, 920, 22_765_280, 31_965_280),
    (8, 890, 23_182_040, 32_082_040),
    (9, 860, 23_417_480, 32_017_480),
    (10, 830, 23_482_400, 31_782_400),
]
# depth, units, enwik8 (205 symbols), text8 (27 symbols); untied
WIKIPEDIA = [
    (5, 1500, 23_479_730, 22_637_256),
    (10, 1000, 20_677_230, 20_101_756),
    (10, 1500, 45_994_730, 45_152_256),
]
TABLE = [
    (depth, units, tied, 10_000, count)
    for depth, units, *counts in PENN_TREEBANK
    for tied, count in zip((True, False), counts, strict=True)
] + [
    (depth, units, False, vocabulary, count)
    for depth, units, *counts in WIKIPEDIA
    for vocabulary, count in zip((205, 27), counts, strict=True)
]


def built_count(config, vocabulary):
    """Numbers in the parameters of the model itself; none is allocated."""
    model = nnx.eval_shape(lambda: LanguageModel(vocabulary, config, rngs=nnx.Rngs(params=0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param))))


@pytest.mark.parametrize(("depth", "units", "tied", "vocabulary", "count"), TABLE)
def test_counts_of_the_published_models(depth, units, tied, vocabulary, count):
    config = ModelConfig(depth=depth, units=units, tied=tied)

    assert parameter_count(config, vocabulary) == count
    assert built_count(config, vocabulary) == count


@pytest.mark.parametrize(
    ("depth", "units", "tied", "vocabulary", "millions"),
    [
        (8, 890, False, 10_000, 32),
        (10, 830, True, 10_000, 23),
        (5, 1000, True, 10_000, 22),
        (5, 1500, False, 205, 23),
        (10, 1000, False, 205, 21),
        (10, 1500, False, 205, 46),
        (10, 1000, False, 27, 20),
        (10, 1500, False, 27, 45),
    ],
)
def test_counts_round_to_the_published_ones(depth, units, tied, vocabulary, millions):
    config = ModelConfig(depth=depth, units=units, tied=tied)

    assert round(parameter_count(config, vocabulary) / 1e6) == millions


def test_counts_by_hand():
    # 5 words; 3 units; softmax bias 5 throughout, embedding 5 · 3 tied.
    def count(**model):
        return parameter_count(ModelConfig(units=3, **model), 5)

    assert count(depth=1) == 15 + 5 + 2 * (3 * 3 + 3 * 3 + 3)
    assert count(depth=2, coupled=False) == 15 + 5 + 3 * (3 * 3 + 2 * (3 * 3 + 3))
    assert count(depth=2, core="dt_rnn") == 15 + 5 + 3 * 3 + 2 * (3 * 3 + 3)
    assert count(depth=2, core="dts_rnn") == 15 + 5 + 3 * 3 + 2 * (3 * 3 + 3) + 2 * 3 * 3
    assert count(depth=1, core="dts_rnn") == count(depth=1, core="dt_rnn")
    assert count(depth=1, core="lstm") == 15 + 5 + 4 * (3 * 3 + 3 * 3 + 3)
    # Untied, an embedding of 2: softmax 3 · 5 + 5; the second cell reads 3 units.
    assert count(depth=1, layers=2, tied=False, embedding=2) == (
        5 * 2 + 20 + 2 * (2 * 3 + 3 * 3 + 3) + 2 * (3 * 3 + 3 * 3 + 3)
    )


@st.composite
def models(draw):
    core = draw(st.sampled_from(["rhn", "dt_rnn", "dts_rnn", "lstm"]))
    tied = draw(st.booleans())
    return ModelConfig(
        core=core,
        depth=1 if core == "lstm" else draw(st.integers(1, 3)),
        units=draw(st.integers(1, 9)),
        layers=draw(st.integers(1, 2)),
        tied=tied,
        embedding=0 if tied else draw(st.integers(0, 9)),
        coupled=draw(st.booleans()),
    )


@settings(max_examples=15)
@given(models(), st.integers(1, 12))
def test_the_formula_counts_what_is_built(config, vocabulary):
    assert parameter_count(config, vocabulary) == built_count(config, vocabulary)


@settings(max_examples=60)
@given(models(), st.integers(1, 50), st.integers(100, 200_000), st.sampled_from([1, 8, 10]))
def test_units_for_a_budget_are_the_most_that_fit(config, vocabulary, budget, multiple):
    config = ModelConfig(
        core=config.core, depth=config.depth, layers=config.layers, tied=config.tied
    )

    def count(units):
        return parameter_count(
            ModelConfig(
                core=config.core,
                depth=config.depth,
                layers=config.layers,
                tied=config.tied,
                units=units,
            ),
            vocabulary,
        )

    assume(count(multiple) <= budget)
    units = units_for_budget(config, vocabulary, budget, multiple)

    assert units > 0
    assert units % multiple == 0
    assert count(units) <= budget < count(units + multiple)


def test_units_for_a_budget_meet_a_published_row():
    config = ModelConfig(depth=10)

    assert units_for_budget(config, 10_000, 23_482_400, 1) == 830
    assert units_for_budget(config, 10_000, 23_482_399, 1) == 829
    assert units_for_budget(config, 10_000, 23_482_399, 10) == 820


def test_a_budget_too_small_is_an_error():
    with pytest.raises(ValueError, match="not even 10 units fit"):
        units_for_budget(ModelConfig(depth=1), 10_000, 1000, 10)
