"""Helpers for tests that run whole trainings: in this process, in another one, and what they left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from srgan_jax import config as configs
from srgan_jax.__main__ import main, without_echoes
from srgan_jax.models.build import build_discriminator, build_generator
from srgan_jax.training.state import GanState, create_state

ROOT = Path(__file__).parent.parent
sys.unraisablehook = without_echoes  # as at the command line; they may come after the test that caused them


def command(config: str, workdir: Path, *fields: str) -> list[str]:
    return ["train", f"--config={ROOT}/configs/{config}.py", f"--workdir={workdir}", *(f"--config.{f}" for f in fields)]


def train(config: str, workdir: Path, *fields: str) -> None:
    assert main(command(config, workdir, *fields)) == 0


def spawn(arguments: list[str], devices: int = 1) -> subprocess.Popen:
    """The command line in a process of its own, in its own group."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    argv = [sys.executable, "-m", "srgan_jax", *arguments]
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(arguments: list[str], devices: int = 1) -> str:
    process = spawn(arguments, devices)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


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
    config = configs.load(f"{ROOT}/configs/tiny_gan.py", [])
    shapes = jax.eval_shape(lambda: create_state(config, build_generator(config), build_discriminator(config)))
    made_up = jax.tree.map(lambda x: np.linspace(step, step + 1, x.size).astype(x.dtype).reshape(x.shape), shapes)
    return jax.tree.map(jax.numpy.asarray, made_up)


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
