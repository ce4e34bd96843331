"""What a device computes in the quickstart: what it does in the experiments it is made of."""

from typing import Any

from jax.stages import Traced

from common.compute import Compute
from experiments.quickstart.catalogue import PARTS, QuickstartConfig
from experiments.quickstart.run import MODELS
from experiments.registry import find


def programs(config: QuickstartConfig, compute: Compute) -> dict[str, Traced]:
    """Trace the programs of all parts."""
    settings: dict[str, Any] = {name: config.model(name) for name in MODELS}
    settings |= {"note_rnn": config.note_rnn, "tutor": config.tutor}
    found: dict[str, Traced] = {}
    for name, experiment in PARTS.items():
        trace = find(experiment).load_programs()
        assert trace is not None
        found |= {f"{name}/{part}": one for part, one in trace(settings[name], compute).items()}
    return found
