"""Several processes in one training: process 0 decides and writes, the others do the same work."""

import json
import sys
import types
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from together import run_together, slurm

from common.checkpoint import digest
from common.error import ConfigError
from common.interrupt import Interrupt
from common.process import Cluster, Process, join, this_process


def run_both(folder: Path) -> list[str]:
    """Runs two_processes.py twice, as process 0 and 1; what each printed."""
    script = Path(__file__).with_name("two_processes.py")
    return run_together(
        lambda index, port: [sys.executable, str(script), str(index), str(port), str(folder)],
        folder,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folder in which two processes trained, what each wrote down, and what each printed."""
    folder = tmp_path_factory.mktemp("two")
    printed = run_both(folder)
    return folder, [json.loads((folder / f"{k}.json").read_text()) for k in range(2)], printed


def test_one_process_decides_and_needs_nobody():
    assert this_process() == Process() == Process(0, 1)
    alone = Process()
    assert alone.leads
    assert alone.gather("x") == ["x"]
    assert alone.decide(3.5) == 3.5
    assert alone.lead(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        alone.lead(lambda: 1 / 0)


def test_a_tick_meets_no_other_process():
    """Each looks round as often as its own clock says: no two would meet."""

    class Met(Exception):
        pass

    class Watched(Process):
        def gather(self, value):
            raise Met

    one, alone = Interrupt(Watched(1, 2)), Interrupt(Watched(0, 1))
    one.tick()
    for look in (one.check, alone.check, alone.tick):
        with pytest.raises(Met):
            look()


def test_the_cpus_of_all_are_as_many_as_are_asked_for(tmp_path):
    """Also where only the cluster's environment says how many processes there are."""
    program = (
        "import jax; from common.device import configure; from common.process import Cluster;"
        "configure('cpu', None, 4, cluster=Cluster());"
        "print(jax.process_index(), jax.local_device_count(), jax.device_count())"
    )
    printed = run_together(
        lambda index, port: [*slurm(index, port), sys.executable, "-c", program], tmp_path
    )
    assert [text.split()[-3:] for text in printed] == [["0", "2", "4"], ["1", "2", "4"]]


def test_what_process_0_says_goes_for_all(both):
    _, facts, _ = both
    assert [one["index"] for one in facts] == [0, 1]
    for one in facts:
        assert one["gathered"] == ["x", "xx"]
        assert one["decided"] == 0.1
        assert one["led"] == [0]
        assert one["same"] == "no error"
        assert (
            "process 1 differs from process 0 (0 → 1): settings.rate: 0.1 → 1.1."
            in (one["settings"])
        )
        assert one["error"] == "ZeroDivisionError: division by zero"


def test_a_digest_is_of_the_whole_array_wherever_its_parts_lie(both):
    _, facts, _ = both
    whole = digest([np.arange(8, dtype=np.float32)])
    assert [one["digests"] for one in facts] == [[whole, whole]] * 2


def test_each_brings_its_part_of_an_array(both):
    _, facts, _ = both
    assert [one["joined"][0] for one in facts] == [[0, 1, 2], [3, 4, 5]]
    assert len({digest for one in facts for digest in one["joined"][1:]}) == 1
    for one in facts:
        assert "rows=5 can't be divided evenly by 2 devices" in one["uneven"]


def test_they_stop_save_and_end_together(both):
    _, (first, second), _ = both
    for session in ("first", "second"):
        for what in ("stops", "saved", "end", "rows", "sessions"):
            assert first[session][what] == second[session][what], (session, what)
    stops, saved = first["first"]["stops"], [step for step, *_ in first["first"]["saved"]]
    assert first["first"]["end"] == -15  # process 1 got the signal
    assert 44 <= stops[-1] < 60
    assert saved[-1] == stops[-1]
    # By the clock of process 0: between evaluations too, but not before every call.
    assert set(saved) - {30, stops[-1]}
    assert len(saved) < len(stops)
    assert max(stop - before for before, stop in pairwise(stops)) > 4
    assert first["second"]["stops"][0] > stops[-1]
    assert first["second"]["end"] == 60
    scores = [score for *_, score in first["second"]["saved"] if score is not None]
    assert scores == [1.0, 31.0]  # those of process 0


def test_only_process_0_writes_and_talks(both):
    folder, (first, second), printed = both
    assert second["written"] == []
    assert {".lock", "metrics.jsonl"} < set(first["written"])
    rows = first["second"]["rows"]
    assert [row["step"] for row in rows] == first["first"]["sunk"] + first["second"]["sunk"]
    assert second["first"]["sunk"] == second["second"]["sunk"] == []
    assert {row.get("train/process", row.get("valid/process")) for row in rows} == {0.0}
    sessions = [{"process": 0}, {"process": 0}]
    assert first["second"]["sessions"] == sessions
    assert json.loads((folder / "run" / "manifest.json").read_text()) == {"sessions": sessions}
    assert "toy  epoch 1" in printed[0]
    assert "toy" not in printed[1]


def test_what_a_directory_holds_or_refuses_is_told_to_all(both):
    _, (first, second), _ = both
    assert first["told"] == second["told"]
    assert "ConfigError" in first["told"]["other"]
    assert "another configuration" in first["told"]["other"]
    assert "another process is running here" in first["told"]["held"]
    assert "process 1 differs from process 0 (0 → 1): data.test: c0 → c1." in first["told"]["data"]
    assert first["told"]["rows"] == str(len(first["second"]["rows"]))
    assert first["told"]["finished"] == "False"
    assert first["told"]["missing"].startswith("DataError")
    assert first["told"]["unwritten"].startswith("DataError")
    assert first["told"]["finished now"] == "True"


@pytest.mark.parametrize("part", ["digest", "load", "metadata"])
def test_a_checkpoint_that_one_cannot_read_is_taken_by_none(both, part):
    folder, (first, second), _ = both
    step, told = first["newest"][part]
    assert step == second["newest"][part][0] == 0
    assert [text.count("Set aside as") for text in told] == [1]
    assert [path.name for path in (folder / part / "damaged").iterdir()] == ["1"]


def test_process_0_says_which_checkpoint_is_the_best(both):
    _, facts, _ = both
    assert [one["best"] for one in facts] == [[0, []]] * 2


def test_a_jax_with_another_inside_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax._src.distributed", types.ModuleType("changed"))
    with pytest.raises(ConfigError, match=r"by JAX \d.*global_state.*\n.*JAX 0\.10 to 0\.12\.$"):
        join(Cluster())
