"""The campaign of faults against a language model."""

import signal

import pytest
from faults import DAMAGES, Campaign
from language_case import ROW, SMALL, folder

TIMES = {signal.SIGKILL: 24, signal.SIGTERM: 8}
"""How often the campaign sends each signal."""


@pytest.fixture
def campaign(tmp_path, done) -> Campaign:
    return Campaign(tmp_path / "run", ROW, SMALL, done)


@pytest.mark.slow
@pytest.mark.parametrize("number", TIMES)
def test_signals_at_random_moments(campaign, number):
    seconds = campaign.stop_at_random(number, TIMES[number], seed=int(number))
    print(f"the slowest ended after {max(seconds):.1f} s")
    assert max(seconds) < 60  # a few seconds, where nothing else runs


def test_power_lost_before_a_rename(campaign):
    assert campaign.kill_at_renames([9], damage=True) == 1


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
def test_a_loss_that_is_not_finite(campaign):
    campaign.arguments = [*SMALL, "train.learning_rate=1e30", "train.clip_norm=1e30"]
    for _ in range(2):  # the second time it is told from the record
        campaign.finish(code=4)
    assert "is not finite" in campaign.told[0]
    assert folder(campaign.out).exists()
