"""What becomes of a training on two processes when something happens to one, and after how many seconds.

python -m benchmarks.faults [--only NAME ...]

Each row is a real training (configs/tiny_gan.py, two processes on this machine, one device each) to which one thing is
done while it runs; seconds are from then until both processes have ended.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.side_by_side import table

ROOT = Path(__file__).parent.parent
WATCHDOG = 15  # seconds, for the training that stalls
FIELDS = {
    "steps": 100_000,
    "log.every": 1,
    "checkpoint.every": 20,
    "validation.every": 0,
    "log.tensorboard": False,
    "guard.watchdog": WATCHDOG,
}
# An exception in the loop of process 1, once the file named below is there.
BROKEN = """
import os, sys
from srgan_jax import __main__
from srgan_jax.training import writers
add = writers.Progress.add
def failing(*arguments):
    if os.path.exists(sys.argv[1]):
        raise RuntimeError("broken on purpose")
    add(*arguments)
writers.Progress.add = failing
sys.exit(__main__.main(sys.argv[2:]))
"""


class Outcome(NamedTuple):
    """codes: negative for a signal, None if stopped. reached, saved: last steps of the log and of the checkpoints."""

    fault: str
    codes: list[int | None]
    seconds: float
    reached: int
    saved: int
    output: str


class Pair:
    """One training on two processes; a context that leaves none behind."""

    def __init__(self, workdir: Path) -> None:
        self.workdir, self.trigger = workdir, workdir.with_suffix(".fail")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
        train = ["train", f"--config={ROOT}/configs/tiny_gan.py", f"--workdir={workdir}", *fields]
        env = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        self.log = tempfile.TemporaryFile("w+")
        self.processes = []
        for i in range(2):
            begin = [sys.executable, "-c", BROKEN, str(self.trigger)] if i else [sys.executable, "-m", "srgan_jax"]
            argv = [*begin, *train, f"--distributed=127.0.0.1:{port},2,{i}"]
            self.processes.append(subprocess.Popen(argv, cwd=ROOT, env=env, stdout=self.log, stderr=self.log))

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.log.close()

    def steps(self) -> list[int]:
        path = self.workdir / "metrics.jsonl"
        whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")  # half a line is no step
        return [json.loads(line)["step"] for line in whole.splitlines()]

    def saved(self) -> int:
        folder = self.workdir / "checkpoints"
        return max([int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()], default=-1)

    def run_until(self, step: int, timeout: float = 240) -> None:
        deadline = time.monotonic() + timeout
        while not (self.steps() and self.steps()[-1] >= step and self.saved() > 0):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                raise SystemExit(f"the training did not get to step {step}:\n{self.output()}")
            time.sleep(0.1)

    def output(self) -> str:
        self.log.flush()
        self.log.seek(0)
        return self.log.read()


def send(number: int, index: int) -> Callable[[Pair], None]:
    return lambda pair: pair.processes[index].send_signal(number)


FAULTS: dict[str, Callable[[Pair], None]] = {
    "SIGTERM to process 1": send(signal.SIGTERM, 1),
    "SIGINT to process 0": send(signal.SIGINT, 0),
    "SIGKILL of process 1": send(signal.SIGKILL, 1),
    "SIGKILL of process 0, the coordinator": send(signal.SIGKILL, 0),
    "exception on process 1": lambda pair: pair.trigger.touch(),
    "SIGSTOP of process 1": send(signal.SIGSTOP, 1),
}


def measure(fault: str, workdir: Path) -> Outcome:
    """Does it to a training that has saved at least once. One that is stopped counts as ended when the other has."""
    with Pair(workdir) as pair:
        pair.run_until(25)
        began = time.monotonic()
        FAULTS[fault](pair)
        for process in pair.processes[:1] if "SIGSTOP" in fault else pair.processes:
            process.wait(timeout=120)
        seconds = time.monotonic() - began
        codes = [process.poll() for process in pair.processes]
        return Outcome(fault, codes, seconds, pair.steps()[-1], pair.saved(), pair.output())


def told(outcome: Outcome) -> str:
    if outcome.codes == [0, 0]:
        return "both finish their step, save and end"
    if None in outcome.codes:
        return "the watchdog ends the other, with the stacks of all its threads"
    return "the other ends; a launcher starts both again"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    args = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, fault in enumerate(args.only):
            outcome = measure(fault, Path(folder) / str(number))
            codes = ", ".join("stopped" if code is None else str(code) for code in outcome.codes)
            rows.append([fault, told(outcome), codes, f"{outcome.seconds:.1f}", outcome.reached, outcome.saved])
            print(*rows[-1], sep=" | ", flush=True)
    print(f"\n{table('what happens | outcome | exit codes | seconds | last step | saved', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
