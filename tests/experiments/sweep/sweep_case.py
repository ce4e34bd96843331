"""What the tests of sweeps share: a language model, made small, and waiting for what happens."""

import time
from collections.abc import Callable

RHN = "rhn_penn_treebank_depth1_tied"
SHORT = ["train.epochs=1", "data.train_tokens=4000", "data.evaluation_tokens=600"]


def wait_for(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
