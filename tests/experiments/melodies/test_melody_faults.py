"""The campaign of faults against a tuning of two seeds: replay memory, environments, networks."""

import signal
from pathlib import Path

import pytest
from faults import DAMAGES, Campaign
from melody_case import FEW, Q

TIMES = {signal.SIGKILL: 24, signal.SIGTERM: 8}
"""How often the campaign sends each signal."""
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


@pytest.mark.slow
@pytest.mark.parametrize("number", TIMES)
def test_many_signals_at_random_moments(campaign, number):
    seconds = campaign.stop_at_random(number, TIMES[number], seed=int(number))
    print(f"the slowest ended after {max(seconds):.1f} s")
    assert max(seconds) < 60  # a few seconds, where nothing else runs


@pytest.mark.slow
@pytest.mark.parametrize("damage", [False, True])
def test_power_lost_before_every_rename(campaign, damage):
    print(campaign.kill_at_renames(range(2, 200, 6), damage=damage), "kills")


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_any_file_of_the_newest_checkpoint_damaged(campaign, damage):
    """Each time the run goes on from the checkpoint before, or from this one all the same."""
    print(campaign.damage_each_file(DAMAGES[damage], before_rename=24), "files damaged")


@pytest.mark.slow
@pytest.mark.parametrize("clock", [-86400.0, 86400.0])
def test_a_clock_that_goes_back(campaign, clock):
    """The first session is a day later, or earlier, than those after it."""
    campaign.turn_clock(clock)


@pytest.mark.slow
def test_two_starts_at_once(campaign):
    campaign.start_twice()


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
