"""A trained generator, from a run's checkpoints or a converted file: for warm starts, evaluation, enlarging.

Nothing is moved or written: another process may be training in the run's folder.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_generator, generator_shapes
from srgan_jax.training.saved_step import Damaged, layout, metric, read_records, read_state, saved_steps
from srgan_jax.weights.builtin import BUILTIN, located
from srgan_jax.weights.generator_file import is_generator_file, read_config, read_variables


class Generator(NamedTuple):
    """A trained generator and where it came from."""

    network: nn.Module
    variables: dict[str, Any]
    config: ConfigDict
    step: int
    run: Path
    name: str  # for tables: the run folder's, or what a converted file states


def load_config(run: str | Path, field: str) -> ConfigDict:
    """The config that a run was started with, or the part of one (scale, dtype, generator) in a generator's file.

    Raises:
      UserError: the folder is no run, the file holds no generator.
    """
    if is_generator_file(run):
        return read_config(Path(run), field)[0]
    path = Path(run) / "config.json"
    if not path.is_file():
        raise UserError(f"{field}={run}: {_no_run(Path(run))}")
    try:
        config = configs.from_json(path.read_text())
        build_generator(config)  # only what is needed of it: a run may be older than some fields
        return config
    except (ValueError, TypeError, AttributeError, KeyError, UserError) as error:
        raise UserError(f"{path}: damaged, or of other code ({error}); restore it, or use that code") from error


def _no_run(path: Path) -> str:
    if path.is_dir():
        return "not a run (no config.json in it); give the --workdir of a training run"
    give = f"give a run's folder, a .safetensors file, or a built-in network ({', '.join(BUILTIN)})"
    if not path.exists():
        return f"not a run (no such path); {give}"
    return f"not a run (a file); {give}; srgan convert generator takes weights of other projects"


def load_generator(run: str | Path, *, field: str, which: str | int = "best") -> Generator:
    """The generator of a run's best or latest checkpoint, with averaged parameters if kept.

    best: by validation PSNR-Y, or L1 where the scale is 1; `which` may be a step's number too. `run` may also be a
    generator's .safetensors file, or the name of built-in weights; their step is 0. `field` names the argument in
    messages.

    Raises:
      UserError: the folder is no run, has no checkpoint yet or not that one, or the checkpoint or file is damaged.
    """
    run, which = located(run), str(which)
    if is_generator_file(run):
        config, name = read_config(Path(run), field)
        return Generator(build_generator(config), read_variables(Path(run), config, field), config, 0, Path(run), name)
    config = load_config(run, field)
    folder = Path(run).absolute() / "checkpoints"
    steps = saved_steps(folder)
    if not steps:
        put = folder.with_name("quarantine")
        why = f"no good checkpoint is left; {put} has the damaged" if put.is_dir() else "the run has no checkpoint yet"
        raise UserError(f"{field}={run}: {why}")
    if not (which in ("best", "latest") or which.isdecimal()):
        raise UserError(f"which={which}: give best, latest or the number of a saved step")
    if which.isdecimal() and int(which) not in steps:
        raise UserError(f"{field}={run}: no checkpoint of step {which}; there are {', '.join(map(str, steps))}")
    candidates = {"best": steps, "latest": steps[:1]}.get(which) or [int(which)]
    step = steps[0]
    network = build_generator(config)
    shapes = generator_shapes(network)
    wanted = {"params": shapes["params"]} | {k: v for k, v in shapes.items() if k == "batch_stats"}
    if config.ema:
        wanted["ema_params"] = shapes["params"]
    try:
        records = {}
        for step in candidates:
            records[step] = read_records(folder / str(step))
        measured = [step for step in records if records[step]["metrics"]]
        of = records[measured[0]]["metrics"].get("of") if measured else None
        step = max(measured, key=lambda step: metric(records[step]["metrics"], of), default=candidates[0])
        saved = read_state(folder / str(step), records[step]["digests"], {"g": wanted})["g"]
        if layout(saved) != layout(wanted):
            raise Damaged("its arrays are not those of the generator in config.json")
    except Damaged as error:
        if step != steps[0]:
            time.sleep(1)  # the run may be at it
        if step not in saved_steps(folder):  # the run has removed it in the meantime, after saving a later one
            return load_generator(run, field=field, which=which)
        others = [other for other in steps if other != step]
        remedy = "no other step is there: move it away and train again"
        if others:
            resumed = " or resume the run, which does so," * (step == steps[0])  # resuming looks at no older arrays
            remedy = f"move it away,{resumed} to use step {others[0]}"
        raise UserError(f"{folder}/{step}: damaged ({error}); {remedy}") from error
    saved = jax.device_put(saved, jax.local_devices()[0])
    params = saved.get("ema_params", saved["params"])
    variables = {"params": params, "batch_stats": saved.get("batch_stats", {})}
    folder = Path(run).resolve()
    of_grid = folder.name.startswith("seed") and folder.name[4:].isdecimal()  # ROW/seed0: of every row alike
    name = f"{folder.parent.name}/{folder.name}" if of_grid else folder.name
    return Generator(network, variables, config, step, Path(run), name)
