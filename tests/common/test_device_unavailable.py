"""What is said where JAX finds no device, and that a chosen platform reaches JAX."""

import os
import subprocess
import sys

import jax
import pytest

from common import device
from common.error import ConfigError


@pytest.mark.parametrize(
    ("platform", "advice"),
    [
        ("gpu", r"\[cuda\].*--platform auto"),
        ("tpu", r"\[tpu\].*--platform auto"),
        ("cpu", "no such backend\nTry --platform cpu"),
    ],
)
def test_a_platform_that_is_not_there_says_what_to_do(platform, advice, monkeypatch):
    def fail():
        raise RuntimeError("no such backend\nand much more")

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # put back afterwards
    with monkeypatch.context() as patch:
        patch.setattr(jax, "devices", fail)
        with pytest.raises(ConfigError, match=f"(?s){advice}") as error:
            device.configure(platform, None)
    assert "much more" not in str(error.value)


def test_a_platform_is_chosen_before_jax_is_imported():
    code = (
        "import os, sys; from common import device\n"
        "assert 'jax' not in sys.modules\n"
        "device.configure('cpu', None)\n"
        "print(os.environ['JAX_PLATFORMS'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["cpu"], done.stderr
