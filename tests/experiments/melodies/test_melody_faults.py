"""The campaign of faults against a tuning of two seeds: replay memory, environments, networks."""

from pathlib import Path

import pytest
from faults import Campaign, Faults
from melody_case import FEW, Q
from run_case import record

LONG = [*FEW, "learn.iterations=6000", "evaluation.every=3000"]


@pytest.fixture(scope="module")
def long(tmp_path_factory, note_rnn) -> Path:
    campaign = Campaign(
        tmp_path_factory.mktemp("long") / "run", Q, settings(note_rnn), Path(), seeds=(0, 1)
    )
    campaign.finish()
    return campaign.out


def settings(note_rnn: Path) -> list[str]:
    return [*LONG, f"note_rnn.run={note_rnn}"]


@pytest.fixture
def campaign(tmp_path, long, note_rnn) -> Campaign:
    return Campaign(tmp_path / "run", Q, settings(note_rnn), long, seeds=(0, 1))


class TestTuning(Faults):
    """What may happen to any training."""


@pytest.mark.slow
def test_a_full_disk(small_disk, long, note_rnn):
    campaign = Campaign(small_disk, Q, settings(note_rnn), long, seeds=(0, 1))
    stopped = campaign.fill_disk((0, 60_000, 300_000, 900_000))
    print(stopped, "starts stopped by a full disk")
    assert stopped >= 2


@pytest.mark.slow
def test_a_loss_that_is_not_finite(campaign):
    campaign.arguments = [*campaign.arguments, "learn.learning_rate=1e30", "learn.clip_norm=1e30"]
    for _ in range(2):  # the second time it is told from the record
        campaign.finish(code=4)
    assert "diverged" in campaign.told[0]
    assert [record(campaign.out, Q, seed).status for seed in (0, 1)] == ["diverged", "diverged"]
