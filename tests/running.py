"""Helpers for tests that run whole trainings: in this process, in another one, and what they left behind."""

import atexit
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from srgan_jax import config as configs
from srgan_jax.__main__ import main, without_echoes
from srgan_jax.evaluation import measure
from srgan_jax.evaluation.processes import Child
from srgan_jax.models.build import build_discriminator, build_generator
from srgan_jax.training.state import GanState, make_state

ROOT = Path(__file__).parent.parent
sys.unraisablehook = without_echoes  # as at the command line; they may come after the test that caused them


def command(config: str, workdir: Path, *fields: str, distributed: str = "off") -> list[str]:
    """Without looking for a cluster: jax allows that only before its first use, and tests share a process."""
    options = [f"--config={ROOT}/configs/{config}.py", f"--workdir={workdir}", f"--distributed={distributed}"]
    return ["train", *options, *(f"--config.{field}" for field in fields)]


def train(config: str, workdir: Path, *fields: str) -> None:
    assert main(command(config, workdir, *fields)) == 0


def spawn(arguments: list[str], devices: int = 1) -> subprocess.Popen:
    """The command line in a process of its own."""
    return start_all([[sys.executable, "-m", "srgan_jax", *arguments]], devices)[0]


def start_all(commands: list[list[str]], devices: int = 1) -> list[subprocess.Popen]:
    """Processes of so many devices each, output and errors in one pipe. Any that a failed test leaves end with us."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    env["PYTHONPATH"] = str(ROOT)
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = [subprocess.Popen(argv, cwd=ROOT, env=env, **pipes) for argv in commands]
    for process in running:
        atexit.register(process.kill)
    return running


def await_that(so: Callable[[], object], every: float = 0.02, seconds: float = 120) -> None:
    """Returns once it is so; a test that waits in vain fails."""
    limit = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(every)


def specs(processes: int) -> list[str]:
    """What --distributed is for each of them, on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [f"127.0.0.1:{port},{processes},{i}" for i in range(processes)]


def spawn_all(arguments: list[str], processes: int, devices: int = 1) -> list[subprocess.Popen]:
    """One run on several processes of so many devices each. The arguments come from command(...)."""
    plain = [argument for argument in arguments if not argument.startswith("--distributed")]
    return [spawn([*plain, f"--distributed={spec}"], devices) for spec in specs(processes)]


def run_all(arguments: list[str], processes: int, devices: int = 1) -> list[str]:
    """What each printed."""
    running = spawn_all(arguments, processes, devices)
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes, "\n".join(outputs)
    return outputs


def run(arguments: list[str], devices: int = 1, timeout: float = 300) -> str:
    process = spawn(arguments, devices)
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


@contextmanager
def in_this_process(say: Callable[[str], None]) -> Iterator[Child]:
    """For `children` of srgan_jax.evaluation.processes, where a grid's files count and not its processes."""
    ours = logging.getLogger("srgan_jax")

    def child(arguments: list[str], log: Path) -> int:
        module, *rest = arguments
        handlers = ours.handlers
        with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
            try:
                if module == "srgan_jax":
                    return main([*rest, "--distributed=off"])
                assert module == measure.__name__
                measure.measure(Path(rest[0]), [Path(folder) for folder in rest[1:]])
                return 0
            finally:
                ours.handlers = handlers  # main's write to the log

    yield child


def leaves(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint by its path, read without our own code."""
    step = max(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    folder, reader = workdir / "checkpoints" / str(step) / "state", ocp.PyTreeCheckpointer()
    numpy_leaf = ocp.RestoreArgs(restore_type=np.ndarray)  # whatever devices it was saved from
    restore_args = jax.tree.map(lambda leaf: numpy_leaf, reader.metadata(folder).item_metadata.tree)
    tree = reader.restore(folder, restore_args=restore_args)
    flat: dict[str, np.ndarray] = {"at": np.array(step)}

    def walk(node: dict, path: str) -> None:
        for name, child in node.items():
            if isinstance(child, dict):
                walk(child, f"{path}/{name}")
            else:
                flat[f"{path}/{name}"] = np.asarray(child)

    walk(tree, "")
    return flat


def made_up_state(step: int) -> GanState:
    """tiny_gan's state with other numbers at each step, without compiling or training anything."""

    def numbers(x: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.numpy.asarray(np.linspace(step, step + 1, x.size).astype(x.dtype).reshape(x.shape))

    return jax.tree.map(numbers, _tiny_gan())


@cache
def _tiny_gan() -> GanState:
    """Its shapes."""
    config = configs.load(f"{ROOT}/configs/tiny_gan.py", [])
    return jax.eval_shape(lambda: make_state(config, build_generator(config), build_discriminator(config)))


def bits(tree: Any) -> list[bytes]:
    """Of each array."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same_bits(a: Path, b: Path) -> None:
    first, second = leaves(a), leaves(b)
    assert first.keys() == second.keys() and len(first) > 20
    different = [name for name in first if first[name].tobytes() != second[name].tobytes()]
    assert not different


def logged(workdir: Path, name: str) -> dict[int, float]:
    """step -> value of one figure in metrics.jsonl."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def events(workdir: Path, name: str) -> dict[int, float]:
    """The same figure in TensorBoard's files, each read to its end without our own code."""
    from tensorboardX.proto import event_pb2  # where torch is installed, it imports that
    from tensorboardX.record_writer import masked_crc32c

    found: dict[int, float] = {}
    for path in sorted((workdir / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):  # length, checksum, event, checksum
            end = at + 12 + int.from_bytes(content[at : at + 8], "little")
            for part, checksum in ((content[at : at + 8], at + 8), (content[at + 12 : end], end)):
                assert int.from_bytes(content[checksum : checksum + 4], "little") == masked_crc32c(part)
            event, at = event_pb2.Event.FromString(content[at + 12 : end]), end + 4
            for value in event.summary.value:
                if value.tag == name:
                    found[event.step] = value.simple_value
    return found


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line in which the command refuses, with exit code 2."""
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"srgan {arguments[0]}: "), lines
    return lines[0]


def limited(arguments: list[str], addresses: int) -> subprocess.CompletedProcess[str]:
    """The command line, ended, in a process that can have so many GB of addresses."""
    script = f'ulimit -v {addresses * 10**6}; exec "$@"'
    argv = ["bash", "-c", script, "bash", sys.executable, "-m", "srgan_jax", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
