"""How melodies are computed reaches what computes them: kernel, devices, threads."""

import pytest
from melody_case import FEW, LITTLE, Q
from run_case import folder, run

from common import device
from common.population import Population
from experiments.melodies import note_rnn, tutor
from tutor.learner import TutorLearner
from tutor.prior import PriorLearner


class Seen(Exception):
    """What a learner was given; nothing is trained."""


@pytest.mark.parametrize("kernel", ["jax", "scan"])
def test_kernel_and_devices_reach_a_note_rnn(tmp_path, monkeypatch, kernel):
    asked, given = [], []

    class Watched(PriorLearner):
        def __init__(self, *arguments, mesh, **keywords):
            super().__init__(*arguments, mesh=None, **keywords)
            given.append((mesh, self.initial_state(0) and self.graph))
            raise Seen

    monkeypatch.setattr(device, "seen", lambda platform="": 2)  # JAX began with one
    monkeypatch.setattr(note_rnn, "make_mesh", lambda devices: asked.append(devices) or "a mesh")
    monkeypatch.setattr(note_rnn, "PriorLearner", Watched)
    with pytest.raises(Seen):
        run(tmp_path, "note_rnn", "--kernel", kernel, "--mesh", "data=2", "--set", *LITTLE)
    ((mesh, graph),) = given
    assert (asked, mesh) == ([2], "a mesh")
    assert f"kernel='{kernel}'" in str(graph)


@pytest.mark.parametrize("kernel", ["jax", "scan"])
def test_kernel_threads_and_devices_reach_a_tuning(tmp_path, monkeypatch, note_rnn, kernel):
    graphs, threads, meshes = [], [], []

    class Watched(TutorLearner):
        def __init__(self, config, graph, *arguments):
            graphs.append(graph)
            super().__init__(config, graph, *arguments)

    class Stopping(Population):
        def __init__(self, *arguments, **keywords):
            if "threads" not in keywords:  # a look at whether devices can divide it
                return
            threads.append(keywords["threads"])
            meshes.append(keywords["mesh"])
            raise Seen

        def held_bytes(self, member):
            return 0

    monkeypatch.setattr(tutor, "TutorLearner", Watched)
    monkeypatch.setattr(tutor, "Population", Stopping)
    monkeypatch.setattr(device, "threads", lambda: 7)
    monkeypatch.setattr(device, "seen", lambda platform="": 2)
    monkeypatch.setattr(tutor, "make_mesh", lambda devices: f"a mesh of {devices}")
    settings = ["--kernel", kernel, "--mesh", "data=2", "--set", *FEW, f"note_rnn.run={note_rnn}"]
    with pytest.raises(Seen):
        run(tmp_path, Q, *settings)
    assert (threads, meshes) == ([7], ["a mesh of 2"])
    assert f"kernel='{kernel}'" in str(graphs[-1])
    assert not (folder(tmp_path, Q) / "record.json").exists()


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        (["learn.c=2.0"], True),
        (["learn.c=1.9"], False),
        (["learn.c=2.0", "learn.exploration=boltzmann"], False),
    ],
)
def test_exploration_unlike_the_policy_that_composes_is_told(tmp_path, capsys, settings, warned):
    """Said before anything trains: there is no Note RNN where they look for one."""
    given = [f"note_rnn.run={tmp_path}", *settings]
    assert run(tmp_path, Q, "--set", *given) == 3
    error = capsys.readouterr().err
    assert ("note: with learn.c=2, what is composed" in error) == warned
