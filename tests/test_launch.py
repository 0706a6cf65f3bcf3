"""launch/restart.sh with real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "launch" / "restart.sh"

# Notes each start in the file `starts`, then does what its argument says; told to save, it writes `saved`.
CHILD = """
import os, signal, sys, time
from pathlib import Path

def save(number, frame):
    with Path("saved").open("a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.3)  # a save takes its time; a second signal ends it
    sys.exit(0)

with Path("starts").open("a") as file:
    file.write("start\\n")
starts = Path("starts").read_text().count("start")
kind, *rest = sys.argv[1:]
if kind == "crash":
    sys.exit(3)
if kind == "crash twice":
    if starts == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(1 if starts == 2 else 0)
if kind == "exit":
    sys.exit(int(rest[0]))
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
Path("pid").write_text(str(os.getpid()))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """start(*arguments of the child, **environment) -> the running script."""
    (tmp_path / "child.py").write_text(CHILD)

    def popen(*arguments: str, **environment: str) -> subprocess.Popen:
        env = os.environ | {"RESTART_PAUSE": "0.05"} | environment
        argv = [SCRIPT, sys.executable, "-S", "child.py", *arguments]
        pipe = subprocess.PIPE
        pipes: dict = {"stdout": pipe, "stderr": pipe, "text": True}
        return subprocess.Popen(["env", "--default-signal=HUP", *argv], cwd=tmp_path, env=env, **pipes)  # under nohup

    return popen


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """(exit code, stderr)."""
    try:
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, err


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text().splitlines())


def test_two_crashes_then_done(tmp_path, start):
    code, err = ended(start("crash twice"))
    assert code == 0 and starts(tmp_path) == 3
    assert "exit code 137; restart 1 of 20" in err and "exit code 1; restart 2 of 20" in err


@pytest.mark.parametrize("code", [0, 2])
def test_done_and_bad_input_are_not_run_again(tmp_path, start, code):
    assert ended(start("exit", str(code)))[0] == code
    assert starts(tmp_path) == 1


def test_the_limit_ends_it_with_the_last_exit_code(tmp_path, start):
    code, err = ended(start("crash", MAX_RESTARTS="2"))
    assert code == 3 and starts(tmp_path) == 3
    assert "MAX_RESTARTS=2 is used up" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_forwarded_once_and_ends_it(tmp_path, start, number):
    process = start("wait")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    code, _ = ended(process)
    assert code == 0 and starts(tmp_path) == 1
    expected = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    assert (tmp_path / "saved").read_text() == f"{expected.value}\n"


def test_a_command_that_is_suspended_has_not_ended(tmp_path, start):
    process = start("wait")
    assert process.stdout.readline() == "ready\n"
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1)
    os.kill(pid, signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code == 0 and starts(tmp_path) == 1 and "restart 1" not in err


@pytest.mark.usefixtures("start")
def test_ctrl_c_at_a_terminal_reaches_the_command_once(tmp_path):
    terminal = f"import pty, sys; sys.exit(pty.spawn({[str(SCRIPT), sys.executable, '-S', 'child.py', 'wait']!r}) >> 8)"
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", terminal]
    process = subprocess.Popen(argv, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\x03")
    process.stdin.flush()
    assert ended(process)[0] == 0
    assert (tmp_path / "saved").read_text() == f"{signal.SIGINT.value}\n"


def test_a_stop_can_be_told_from_the_end(start):
    assert ended(start("exit", "0", STOPPED_CODE="143"))[0] == 0
    process = start("wait", STOPPED_CODE="143")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143


@pytest.mark.parametrize(("code", "received"), [(0, "2\n"), (1, "15\n")])
def test_a_stop_by_another_command_or_where_that_fails_by_the_signal(tmp_path, start, code, received):
    stop = "import os, sys; from pathlib import Path"
    stop += f"; {code} or os.kill(int(Path('pid').read_text()), 2); sys.exit({code})"
    (tmp_path / "stop.py").write_text(stop)
    process = start("wait", STOP_COMMAND=f"{sys.executable} -S stop.py")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0 and (tmp_path / "saved").read_text() == received


def test_a_signal_between_two_starts_ends_it_at_once(tmp_path, start):
    process = start("crash", RESTART_PAUSE="30")
    assert "restart 1 of 20" in process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 3
    assert starts(tmp_path) == 1 and time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("argv", "environment", "code", "said"),
    [
        ([], {}, 2, "usage:"),
        (["true"], {"MAX_RESTARTS": "many"}, 2, "MAX_RESTARTS=many"),
        (["true"], {"RESTART_PAUSE": "-1"}, 2, "RESTART_PAUSE=-1"),
        (["true"], {"STOPPED_CODE": "no"}, 2, "STOPPED_CODE=no"),
        (["/no/such/command"], {}, 127, "/no/such/command"),
        (["test", "two words", "=", "two words"], {}, 0, ""),
    ],
)
def test_arguments(argv, environment, code, said):
    env = os.environ | environment
    done = subprocess.run([SCRIPT, *argv], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == code and said in done.stderr
