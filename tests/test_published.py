"""The published numbers that are typed in code against the tables of docs/."""

import re
from pathlib import Path

import pytest

from common.config import to_dict
from common.datasets.enwik8 import Enwik8
from common.datasets.jsb_chorales import JsbChorales
from common.datasets.penn_treebank import PennTreebank
from common.datasets.text8 import Text8
from common.melody import OCTAVE
from experiments.language.catalogue import PENN_TREEBANK_ROWS
from experiments.language.table import OTHERS_ON_ENWIK8, OTHERS_ON_PENN_TREEBANK
from experiments.melodies.catalogue import COLUMNS, TABLE_1
from experiments.registry import experiments
from highway.config import ModelConfig
from highway.cost import CORPORA
from highway.size import parameter_count
from tutor.molecules.config import RewardConfig
from tutor.music.key import INTERVAL_REWARDS

DOCS = Path(__file__).parents[1] / "docs"
SPLITS_AND_VOCABULARY = ("train", "valid", "test", "vocabulary")
RHN_ROWS = {
    ("enwik8", 5, 1500): "rhn_enwik8_depth5",
    ("enwik8", 10, 1000): "rhn_enwik8_depth10",
    ("enwik8", 10, 1500): "rhn_enwik8_depth10_large",
    ("text8", 10, 1000): "rhn_text8_depth10",
    ("text8", 10, 1500): "rhn_text8_depth10_large",
}


def read_tables(page: str) -> dict[str, list[list[list[str]]]]:
    """Heading → the tables beneath it in order, each a list of rows of cells without the head."""
    tables: dict[str, list[list[list[str]]]] = {}
    heading, inside = "", False
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if line.startswith("|"):
            found = tables.setdefault(heading, [])
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        inside = line.startswith("|")
    return {heading: [rows[2:] for rows in found] for heading, found in tables.items()}


PUBLISHED = read_tables("published.md")


def number(cell: str) -> float:
    """A number as the pages write it: 1,275 or −.16."""
    return float(cell.replace("−", "-").replace(",", ""))


def printed(cell: str) -> str:
    """The same digits with a 0 before the point: 1.30 stays 1.30, −.16 becomes -0.16."""
    return re.sub(r"^(-?)\.", r"\g<1>0.", cell.replace("−", "-"))


def published_values(name: str) -> set[tuple[str, str]]:
    return {(one.metric, one.printed) for one in experiments()[name].published}


def setting(name: str, key: str) -> object:
    """The value of a setting in the experiment's preset `paper`."""
    value = to_dict(experiments()[name].presets["paper"].config)
    for part in key.split("."):
        value = value[part]
    return value


def assert_settings(name: str, rows: list[tuple[str, str]]) -> None:
    """The preset `paper` has these values, as the page writes them, of these settings."""
    assert rows
    for key, cell in rows:
        value = setting(name, key)
        if isinstance(value, bool):
            assert value == {"yes": True, "no": False}[cell], key
        else:
            assert value == (cell if isinstance(value, str) else number(cell)), key


def test_other_models():
    _, others = PUBLISHED["Penn Treebank headline"]
    found = {model: (size, test) for model, size, test, _ in others}
    assert found == OTHERS_ON_PENN_TREEBANK
    _, others = PUBLISHED["enwik8 and text8"]
    assert dict(others) == OTHERS_ON_ENWIK8


def test_the_depth_study():
    (rows,) = PUBLISHED["Penn Treebank by recurrence depth"]
    found = {int(row[0]): (number(row[1]), *map(printed, row[2:])) for row in rows}
    assert found == PENN_TREEBANK_ROWS
    for depth, units, *perplexities in rows:
        for tied, (valid, test) in (("untied", perplexities[:2]), ("tied", perplexities[2:])):
            name = f"rhn_penn_treebank_depth{depth}_{tied}"
            expected = {
                ("valid/perplexity", printed(valid)),
                ("test_full/perplexity", printed(test)),
            }
            assert expected <= published_values(name)
            assert_settings(name, [("model.depth", depth), ("model.units", units)])


def test_the_headline_of_penn_treebank():
    rows, _ = PUBLISHED["Penn Treebank headline"]
    metrics = ("valid/perplexity", "test_full/perplexity", "test_mc/perplexity")
    assert len(rows) == 3
    typed = set()
    for name in experiments():
        if name.startswith("rhn_penn_treebank_"):
            typed |= {value for _, value in published_values(name)}
    for _, depth, weights, _, *cells, _ in rows:
        name = f"rhn_penn_treebank_depth{depth}_{weights}"
        pairs = zip(metrics, cells, strict=True)
        values = {(metric, printed(cell)) for metric, cell in pairs if cell}
        assert values <= published_values(name)
    everything = {printed(cell) for row in rows for cell in row[4:7] if cell}
    everything |= {value for row in PENN_TREEBANK_ROWS.values() for value in row[1:]}
    assert typed == everything


def test_the_wikipedia_corpora():
    rows, _ = PUBLISHED["enwik8 and text8"]
    assert len(rows) == len(RHN_ROWS)
    for corpus, depth, units, size, bits, _ in rows:
        name = RHN_ROWS[corpus, int(depth), int(units)]
        assert published_values(name) == {("test_full/bits_per_character", printed(bits))}
        assert_settings(name, [("model.depth", depth), ("model.units", units)])
        assert f"{size} parameters" in experiments()[name].row
        # The paper cuts off or rounds.
        assert abs(experiments()[name].paper_parameters / 1e6 - int(size.removesuffix(" M"))) < 1


def test_sizes():
    penn_treebank, wikipedia = PUBLISHED["Sizes"]
    counted = {}
    for depth, units, tied, untied in penn_treebank:
        counted[f"rhn_penn_treebank_depth{depth}_tied"] = number(tied)
        counted[f"rhn_penn_treebank_depth{depth}_untied"] = number(untied)
        assert int(units) == PENN_TREEBANK_ROWS[int(depth)][0]
    for depth, units, enwik8, text8, _ in wikipedia:
        for corpus, vocabulary, size in (("enwik8", 205, enwik8), ("text8", 27, text8)):
            model = ModelConfig(depth=int(depth), units=int(units), tied=False)
            assert parameter_count(model, vocabulary) == number(size)
            if name := RHN_ROWS.get((corpus, int(depth), int(units))):
                counted[name] = number(size)
    assert {name: experiments()[name].paper_parameters for name in counted} == counted


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("rhn_penn_treebank_depth10_tied", 2),
        ("rhn_enwik8_depth10_large", 3),
        ("rhn_text8_depth10_large", 4),
    ],
)
def test_the_hyper_parameters_of_language_models(name, column):
    (rows,) = PUBLISHED["Hyper-parameters"]
    assert_settings(name, [(row[1], row[column]) for row in rows if row[1]])


def test_the_corpora():
    (rows,) = PUBLISHED["Data of the first paper"]
    for builder, row in zip((PennTreebank, Enwik8, Text8), rows[:3], strict=True):
        sizes = dict(zip(SPLITS_AND_VOCABULARY, map(number, row[1:]), strict=True))
        assert sizes == builder.SIZES
        assert CORPORA[builder.name] == (number(row[4]), sizes["train"])
    assert f"{'/'.join(rows[3][1:4])} chorales" in JsbChorales.RELEASE_NOTES["1.0.0"]
    assert number(rows[3][4]) == JsbChorales.KEYS


def test_the_optimisation_study():
    (rows,) = PUBLISHED["Optimisation study"]
    told = {row[0]: [number(one) for one in re.findall(r"[−\d][\de.-]*", row[1])] for row in rows}
    name = "rhn_optimization"
    depths = setting(name, "depths")
    assert depths == told["recurrence depth"]
    sizes = told["recurrent weights at these depths, equal for all architectures"]
    assert [setting(name, "parameters_per_step") * depth for depth in depths] == sizes
    for words, keys in {
        "random settings for each architecture and depth": ["settings"],
        "optimiser": ["momentum"],
        "batch": ["batch_size"],
        "epochs": ["epochs", "patience"],
        "initial learning rate": ["lowest_rate", "highest_rate"],
        "weights": ["lowest_std", "highest_std"],
    }.items():
        assert [setting(name, f"search.{key}") for key in keys] == told[words]
    assert setting(name, "search.transform_biases") == told["initial bias of the transform gates"]


def test_table_1():
    (rows,) = PUBLISHED["Table 1"]
    assert {row[1]: tuple(map(printed, row[2:])) for row in rows} == TABLE_1
    assert list(TABLE_1) == [row[1] for row in rows]
    for name, column in COLUMNS.items():
        composed = {(f"composed/{row[1]}", printed(row[2 + column])) for row in rows}
        assert composed <= published_values(name)


def test_the_model_of_molecules():
    (rows,) = PUBLISHED["Molecules"]
    metrics = {"unique@1k": "unique_1k", "unique@10k": "unique_10k"}
    told = " ".join(experiments()["molecule_rnn"].docstring.split())
    found = set()
    for name, cell in rows:
        metric = metrics.get(name, name.replace(" ", "_"))
        found.add((f"composed/{metric}", printed(cell.split()[0])))
        assert f"{name} {cell}" in told
    assert found == published_values("molecule_rnn")


def test_the_reward_of_molecules():
    row = next(row for row in read_tables("deviations.md")["Molecules"][0] if row[0] == "reward")
    told = {name: number(value) for name, value in re.findall(r"reward\.(\w+)=([\d.]+)", row[1])}
    config = to_dict(RewardConfig())
    assert told == {name: config[name] for name in told}
    assert set(config) - set(told) == {"invalid", "functions", "baseline"}


def test_the_note_rnn():
    ((accuracy, perplexity),) = PUBLISHED["Results of the Note RNN"]
    assert {
        ("valid/accuracy", f"{number(accuracy[1].removesuffix(' %')) / 100:.2f}"),
        ("valid/log_perplexity", printed(perplexity[1])),
    } <= published_values("note_rnn")
    (rows,) = PUBLISHED["Settings of the Note RNN"]
    assert_settings("note_rnn", [(row[1], row[2]) for row in rows if row[1]])


@pytest.mark.parametrize("method", ["q", "psi", "g", "rl_only"])
def test_the_settings_of_tuning(method):
    (rows,) = PUBLISHED["Settings of fine-tuning"]
    assert_settings(f"tutor_melodies_{method}", [(row[1], row[2]) for row in rows if row[1]])


def test_the_rewards_of_intervals():
    (rows,) = read_tables("music_theory.md")["Intervals"]
    rewards = {number(row[1]): number(row[2]) for row in rows if row[1] != "the distance"}
    assert rewards == {code: value for code, value in INTERVAL_REWARDS.items() if code <= OCTAVE}
    beyond, none = (row for row in rows if row[1] == "the distance")
    first, last = map(int, re.findall(r"\d+", beyond[0]))
    distances = {int(text): number(none[2]) for text in re.findall(r"\d+", none[0])}
    distances |= dict.fromkeys(range(first, last + 1), number(beyond[2]))
    assert {code: INTERVAL_REWARDS.get(code, 0) for code in distances} == distances
    assert set(distances) | set(rewards) >= set(range(1, last + 1))


def test_the_readme_tells_the_size_of_what_was_run():
    told = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    deepest = experiments()["rhn_penn_treebank_depth10_tied"]
    counts = [
        parameter_count(deepest.presets[preset].config.model, CORPORA["penn_treebank"].vocabulary)
        for preset in ("cpu", "paper")
    ]
    assert (
        "Penn Treebank with {:.1f} M of {:.0f} M parameters".format(
            *(count / 1e6 for count in counts)
        )
        in told
    )
