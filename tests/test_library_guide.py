"""The programs of docs/library.md run as they stand there."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.config import to_dict
from common.datasets.corpus import Tokenizer
from common.record import DataUsed, read_record, write_record
from common.window import Windows
from experiments import text_model, trained
from experiments.cli import main
from experiments.melodies.domain import MELODIES
from highway.config import LanguageModelConfig, ModelConfig
from highway.learner import LanguageModelLearner
from tutor.config import SequenceModelConfig
from tutor.evaluation import Policy
from tutor.kl_control import SOFTMAX

ROOT = Path(__file__).parents[1]
WORDS = "rhn_penn_treebank_depth10_tied/cpu/seed0"
TEXT = (ROOT / "docs/library.md").read_text(encoding="utf-8")
SECTIONS = {
    title: "\n".join(re.findall(r"```python\n(.*?)```", body, re.DOTALL))
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
}


def test_there_are_programs():
    assert sum(map(bool, SECTIONS.values())) == 5


@pytest.fixture
def runs(tmp_path) -> Path:
    """The runs that programs read, of small models that have learned nothing."""
    config = LanguageModelConfig(model=ModelConfig(depth=2, units=6))
    words = ("<eos>", "<unk>", "the", "company", "said", "it", "expects", "to", "market")
    text = Tokenizer("penn_treebank", "word", words)
    nothing = np.zeros((1, 1, 1), np.int32)
    learner = LanguageModelLearner(config, len(words), Windows(nothing, nothing))
    run = tmp_path / "runs" / WORDS
    text_model.save(run, learner.initial_state(0).params, text)
    record = read_record(ROOT / "results" / WORDS / "record.json")
    write_record(replace(record, config=to_dict(config)), run)
    model = SequenceModelConfig(units=8)
    graph, prior = trained.make_graph(model, MELODIES.num_events)
    data, notes = DataUsed("none", "1.0.0", None, {}, {}), {"swapped_specials": False}
    note_rnn = trained.Trained(MELODIES, graph, Policy(prior, prior), model, SOFTMAX, data, notes)
    trained.save(tmp_path / "runs/note_rnn/cpu/seed0", note_rnn)
    return tmp_path / "runs"


@pytest.mark.parametrize("title", [title for title, program in SECTIONS.items() if program])
def test_a_sections_program(title, runs, monkeypatch):
    if "import gymnax" in SECTIONS[title]:
        pytest.importorskip("gymnax")
    monkeypatch.chdir(runs.parent)
    exec(compile(SECTIONS[title], title, "exec"), {"__name__": "__main__"})
    if "trained.save" in SECTIONS[title]:
        assert main(["compose", "runs/no_long_rest", "-n", "1"]) == 0
        assert (runs / "no_long_rest/compositions/composition1.mid").exists()
