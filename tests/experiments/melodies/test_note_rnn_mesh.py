"""`--mesh`: by default two cores share a Note RNN's batch; refused where it means nothing."""

import jax
import pytest
from apart import train_apart
from melody_case import FEW, LITTLE, Q
from run_case import record, run

from common import device
from common.record import Record
from experiments.registry import find


@pytest.fixture(scope="module")
def by_scan(tmp_path_factory) -> Record:
    """A Note RNN of one device, by the plain scan."""
    out = tmp_path_factory.mktemp("scan")
    assert run(out, "note_rnn", "--mesh", "data=1", "--kernel", "scan", "--set", *LITTLE) == 0
    made = record(out, "note_rnn")
    assert made.device["count"] == 1
    return made


def test_a_processor_is_two_devices_by_default(tmp_path, by_scan):
    train_apart(tmp_path, "note_rnn", "--set", *LITTLE)
    made = record(tmp_path, "note_rnn")
    expected = min(2, device.cores())
    assert find("note_rnn").cpu_devices == 2
    assert (made.device["count"], made.device["seen"]) == (expected, expected)
    assert ("--mesh data=2" in made.command) == (expected == 2)
    for name in ("valid/log_perplexity", "test/log_perplexity"):
        assert made.metrics[name] == pytest.approx(by_scan.metrics[name], rel=1e-4)


def test_and_for_a_tuning_that_trains_it_first(tmp_path):
    train_apart(tmp_path, Q, "--set", *FEW)
    assert record(tmp_path, "note_rnn").device["count"] == min(2, device.cores())
    assert record(tmp_path, Q).device["count"] == 1


def test_refusals(tmp_path, capsys):
    asked = 1 + len(jax.devices())
    assert run(tmp_path, "note_rnn", "--mesh", f"data={asked}", "--set", *LITTLE) == 2
    assert f"--mesh data={asked}: JAX sees" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        run(tmp_path, "note_rnn", "--mesh", "2")
    assert "write data=N" in capsys.readouterr().err


def test_how_it_is_computed_is_recorded_and_felt(tmp_path, by_scan):
    """Differences of the plain scan, and an LSTM in bfloat16: of rounding only."""
    assert run(tmp_path, "note_rnn", "--precision", "bfloat16", "--set", *LITTLE) == 0
    made = by_scan, record(tmp_path, "note_rnn")
    how = [(one.device["kernel"], one.device["products"]) for one in made]
    assert how == [("scan", "float32"), ("jax", "bfloat16")]
    plain, narrow = (one.metrics["valid/log_perplexity"] for one in made)
    assert plain != narrow
    assert narrow == pytest.approx(plain, rel=1e-3)
