"""Commands as processes: signals at any moment, streams that are closed, full or not UTF-8."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import product

import pytest

from common.error import InterruptedRun
from common.interrupt import Interrupt
from experiments.cli import main

COMMAND = [sys.executable, "-m", "experiments"]
RUN = ["run", "rhn_penn_treebank_depth3_tied", "--preset", "smoke", "--set", "train.epochs=1"]
RUN += ["data.train_tokens=4000", "data.evaluation_tokens=600"]


MOMENTS = 5
"""At which a start is interrupted."""


def shell(line: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a line of bash in which $E is `python -m experiments`."""
    return subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "E": " ".join(COMMAND), **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_signal_at_any_moment_of_the_start_stops_the_run(tmp_path, number):
    """Imports swallowed a third of them; libraries turned others into their own errors."""
    moments = random.Random(int(number))
    for k in range(MOMENTS):
        process = subprocess.Popen(
            [*COMMAND, *RUN, "--out", str(tmp_path / str(k))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.15 + 1.85 * (k + moments.random()) / MOMENTS)
        process.send_signal(number)
        error = process.communicate(timeout=60)[1]
        assert process.returncode in (-number, 128 + number), error
        if "KeyboardInterrupt" in error:  # before our first line, where Python starts itself
            assert "experiments" not in error
        else:
            assert "Traceback" not in error


def test_a_signal_after_the_last_check_is_not_lost():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRun, match="SIGINT"), Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_signal_kills_while_python_hears_nothing():
    """Inside one long call of C, as a compilation is, handlers written in Python never run."""
    code = (
        "from common.interrupt import Interrupt\nfrom common.process import Process\n"
        "import hashlib\nwith Interrupt(Process()):\n"
        "    print('in', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    for _ in range(2):
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.mark.parametrize(
    "streams",
    [
        pytest.param(">&-", marks=pytest.mark.slow),
        pytest.param("2>&-", marks=pytest.mark.slow),
        "<&- >&- 2>&-",
        pytest.param("2>/dev/full", marks=pytest.mark.slow),
    ],
)
def test_the_work_goes_on_without_standard_streams(tmp_path, streams):
    done = shell(f"$E {' '.join(RUN)} --out {tmp_path}/runs {streams}")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("record.json"))) == 1
    assert b"Traceback" not in done.stderr


def test_a_full_disk_behind_standard_output_is_named():
    done = shell("$E list >/dev/full")
    assert done.returncode == 3
    assert done.stderr == b"error: standard output can't be written: No space left on device.\n"
    assert shell("$E show nope >/dev/full 2>&1").returncode == 2


ENCODINGS = ("ascii", "utf-16", "latin-1", "cp1252", "koi8-r")
SHOWN = ("list", "show tutor_melodies_psi", "run --help", "data nope")
QUICK = list(zip(("ascii", "utf-16") * 2, SHOWN, strict=True))


@pytest.mark.parametrize(
    ("encoding", "command"),
    [
        pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow)
        for pair in product(ENCODINGS, SHOWN)
    ],
)
def test_terminals_that_are_not_utf8(encoding, command):
    done = shell(f"$E {command}", PYTHONIOENCODING=encoding)
    assert done.returncode == (2 if "nope" in command else 0), done.stderr
    assert (done.stdout + done.stderr).decode(encoding)
    assert "Traceback" not in done.stderr.decode(encoding)


def test_the_c_locale():
    done = shell("$E list", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0
    assert b"psi-learning" in done.stdout


@pytest.mark.parametrize(
    "command",
    ["list", "show", "data --data-dir", "compose", "data", "run note_rnn --data-dir", "table"],
)
def test_file_names_that_are_not_utf8(command):
    done = shell(f"$E {command} $'/nowhere/\\xff'")
    assert done.returncode in (2, 3)
    assert b"Traceback" not in done.stderr
    assert b"/nowhere/\\xff" in done.stderr


def test_a_cache_folder_whose_name_is_not_utf8(tmp_path):
    done = shell(f"HIGHWAY_TUTOR_CACHE=$(printf '{tmp_path}/\\351') $E data tiny_shakespeare")
    assert done.returncode == 2
    assert b"HIGHWAY_TUTOR_CACHE" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_environment_that_jax_cannot_read():
    done = shell("JAX_ENABLE_X64=maybe $E devices")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: JAX can't start: ")
    assert b"JAX_ENABLE_X64" in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("command", [["devices"], ["data"], RUN])
def test_no_home_directory(command, tmp_path, capsys, monkeypatch):
    """In a process of a user id that isn't in the list of users, where the system allows one."""
    alien = "unshare -U --map-user=12345 --map-group=12345"
    if shell(f"{alien} true").returncode:
        pytest.skip("this system lets nobody take a foreign user id")
    clean = "env -u HOME -u HIGHWAY_TUTOR_CACHE -u XDG_CACHE_HOME"
    done = shell(f"cd {tmp_path}; {alien} {clean} $E {' '.join(command)}", PYTHONPATH=os.getcwd())
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert b"HIGHWAY_TUTOR_CACHE" in done.stderr
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", "~nobody-of-this-name/cache")
    assert main(["devices"]) == 2
    assert "HIGHWAY_TUTOR_CACHE" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_entries_of_the_compilation_cache_that_cannot_be_read_are_replaced(tmp_path):
    code = (
        "import sys; from pathlib import Path; from common import device\n"
        "device.configure('cpu', Path(sys.argv[1]))\n"
        "import jax; jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)\n"
        "for n in (1, 2, 3): jax.jit(lambda x: x * n + 1)(float(n)); jax.jit(jax.numpy.sin)(n)\n"
    )

    def errors() -> list[str]:
        command = [sys.executable, "-c", code, str(folder)]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stderr.splitlines()

    folder = tmp_path / "compiled [x]"
    assert errors() == []
    entries = [path for path in folder.iterdir() if path.name.endswith("-cache")]
    sizes = {path.name: path.stat().st_size for path in entries}
    assert entries
    for damage in (b"", b"junk", b"\x00" * 500):
        for path in entries:
            path.write_bytes(damage)
        (told,) = errors()
        assert "can't be read, which are replaced" in told
        assert str(folder) in told
        assert {path.name for path in entries} == sizes.keys()
        assert all(path.stat().st_size > 500 for path in entries)
        assert errors() == []


@pytest.mark.parametrize("kind", ["file", "below a file", "read-only"])
def test_a_compilation_cache_that_cannot_be_written_is_a_line(kind):
    line = {
        "file": "touch $T/compiled",
        "below a file": "touch $T/x; export HIGHWAY_TUTOR_CACHE=$T/x/y",
        "read-only": "export HIGHWAY_TUTOR_CACHE=/proc/self",
    }[kind]
    done = shell(f"export T=$(mktemp -d) HIGHWAY_TUTOR_CACHE; HIGHWAY_TUTOR_CACHE=$T; {line}; "
                 "$E devices")  # fmt: skip
    assert done.returncode == 0
    (told,) = done.stderr.decode().splitlines()
    assert "can't be written" in told
    assert "/compiled" in told
