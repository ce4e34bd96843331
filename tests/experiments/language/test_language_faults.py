"""The campaign of faults against a language model."""

import pytest
from faults import Campaign, Faults
from language_case import ROW, SMALL, record


@pytest.fixture
def campaign(tmp_path, done) -> Campaign:
    return Campaign(tmp_path / "run", ROW, SMALL, done)


class TestLanguageModel(Faults):
    """What may happen to any training."""


def test_power_lost_before_a_rename(campaign):
    assert campaign.kill_at_renames([9], damage=True) == 1


@pytest.mark.slow
def test_a_loss_that_is_not_finite(campaign):
    campaign.arguments = [*SMALL, "train.learning_rate=1e30", "train.clip_norm=1e30"]
    for _ in range(2):  # the second time it is told from the record
        campaign.finish(code=4)
    assert "is not finite" in campaign.told[0]
    assert record(campaign.out).status == "diverged"
