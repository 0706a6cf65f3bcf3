"""launch/local.sh with real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_launch_clusters import wait_for

LAUNCH = Path(__file__).parent.parent / "launch"

# Says what it was given, then does what `KIND[i]` says; told to save, it appends to the file `saved`.
CHILD = """
import os, signal, sys, time
from pathlib import Path

def save(number, frame):
    with Path("saved").open("a") as file:
        file.write(f"{index} {number}\\n")
    time.sleep(0.3)  # a save takes its time; a second signal ends it
    os._exit(0)

*given, distributed = sys.argv[1:]
address, count, index = distributed.removeprefix("--distributed=").split(",")
kinds = os.environ["KIND"].split(",")
kind = kinds[int(index)]
if kind == "wait":
    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, save)
if kind == "bad":
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(2))
if kind == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", *given, address, count, os.environ.get("JAX_LOCAL_DEVICE_IDS"), flush=True)
if kind in ("wait", "deaf", "bad"):
    Path(f"ready{index}").touch()
    time.sleep(60)
while any(k in ("wait", "deaf", "bad") and not Path(f"ready{i}").exists() for i, k in enumerate(kinds)):
    time.sleep(0.02)
if kind == "once" and not Path("crashed").exists():
    Path("crashed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(kind) if kind.isdigit() else 0)
"""


@pytest.fixture
def start(tmp_path):
    """start(kinds, ..., **environment) -> the running script, one process for each kind."""
    (tmp_path / "child.py").write_text(CHILD)

    def popen(kinds: str, *before: str | Path, **environment: str) -> subprocess.Popen:
        env = os.environ | {"KIND": kinds, "RESTART_PAUSE": "0.05"} | environment
        count = str(kinds.count(",") + 1)
        argv = [*before, LAUNCH / "local.sh", count, sys.executable, "-S", "child.py", "two words"]
        pipe = subprocess.PIPE
        pipes: dict = {"stdout": pipe, "stderr": pipe, "text": True}
        return subprocess.Popen(["env", "--default-signal=HUP", *argv], cwd=tmp_path, env=env, **pipes)  # under nohup

    return popen


def ended(process: subprocess.Popen) -> tuple[int, list[str], str]:
    """(exit code, lines of stdout, stderr)."""
    try:
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, out.splitlines(), err


def test_each_knows_its_place_and_lines_say_whose_they_are(start):
    code, lines, _ = ended(start("0,0,0"))
    assert code == 0 and len(lines) == 3
    places = {tuple(line.split()[:4]) for line in lines}
    assert places == {(f"[{i}]", "ready", "two", "words") for i in range(3)}
    addresses = {line.split()[4] for line in lines}
    assert len(addresses) == 1 and addresses.pop().startswith("127.0.0.1:")
    assert {tuple(line.split()[5:]) for line in lines} == {("3", "None")}


def test_devices_are_shared_out(start):
    code, lines, _ = ended(start("0,0", DEVICES_EACH="2"))
    assert code == 0 and {(line[:3], line.split()[-1]) for line in lines} == {("[0]", "0,1"), ("[1]", "2,3")}


def test_the_first_to_fail_gives_the_exit_code_and_ends_the_others(tmp_path, start):
    code, _, err = ended(start("wait,7,wait"))
    assert code == 7 and "process 1 ended with exit code 7" in err
    term = signal.SIGTERM.value
    assert sorted((tmp_path / "saved").read_text().splitlines()) == [f"0 {term}", f"2 {term}"]


def test_bad_input_is_told_whoever_ends_first(start):
    code, _, err = ended(start("bad,134,wait"))
    assert code == 2 and "process 1 ended with exit code 134" in err and "process 0 ended with exit code 2" in err


def test_one_that_does_not_hear_is_killed(start):
    began = time.monotonic()
    code, _, _ = ended(start("deaf,75", GRACE="1"))
    assert code == 75 and time.monotonic() - began < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_each_once(tmp_path, start, number):
    process = start("wait,wait")
    wait_for(tmp_path / "ready0", tmp_path / "ready1")
    process.send_signal(number)
    assert ended(process)[0] == 0
    saved = (tmp_path / "saved").read_text().splitlines()
    assert sorted(saved) == [f"{i} {signal.SIGTERM.value}" for i in range(2)]


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("before", [[], [str(LAUNCH / "restart.sh")]])
def test_ctrl_c_at_a_terminal_reaches_each_once(tmp_path, before):
    argv = [*before, str(LAUNCH / "local.sh"), "2", sys.executable, "-S", "child.py"]
    terminal = f"import pty, sys; sys.exit(pty.spawn({argv!r}) >> 8)"
    pipe, env = subprocess.PIPE, os.environ | {"KIND": "wait,wait"}
    argv = [sys.executable, "-c", terminal]
    process = subprocess.Popen(argv, cwd=tmp_path, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    wait_for(tmp_path / "ready0", tmp_path / "ready1")
    process.stdin.write("\x03")
    process.stdin.flush()
    assert ended(process)[0] == 0
    assert len((tmp_path / "saved").read_text().splitlines()) == 2


def test_waiting_costs_next_to_nothing():
    process = subprocess.Popen([LAUNCH / "local.sh", "2", "sh", "-c", "sleep 2", "sh"])
    _, status, used = os.wait4(process.pid, 0)  # the script's, and that of all it waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and used.ru_utime + used.ru_stime < 0.5


def test_restart_starts_all_again(tmp_path, start):
    code, lines, err = ended(start("once,0", LAUNCH / "restart.sh"))
    assert code == 0 and "process 0 ended with exit code 137" in err
    assert "exit code 137; restart 1 of 20" in err and len(lines) == 4


@pytest.mark.parametrize("arguments", [[], ["2"], ["0", "true"], ["two", "true"]])
def test_arguments(arguments):
    done = subprocess.run([LAUNCH / "local.sh", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and done.stderr.startswith("usage:")


@pytest.mark.parametrize("setting", ["GRACE=soon", "DEVICES_EACH=0"])
def test_settings(setting):
    name, value = setting.split("=")
    argv, env = [LAUNCH / "local.sh", "1", "true"], os.environ | {name: value}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and setting in done.stderr
