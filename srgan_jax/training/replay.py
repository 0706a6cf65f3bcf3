"""The update at which training diverged, kept and run again."""

import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.data.feed import make_feed
from srgan_jax.data.source import Source
from srgan_jax.errors import UserError
from srgan_jax.fields import check
from srgan_jax.files import replacing
from srgan_jax.models.build import build_features
from srgan_jax.training import parallel, start
from srgan_jax.training.checkpoint import Checkpoints, has_checkpoint
from srgan_jax.training.guards import Diverged
from srgan_jax.training.state import AUGMENT, with_optimizer
from srgan_jax.training.steps import make_update
from srgan_jax.training.trained import load_config
from srgan_jax.weights.readers import UNREADABLE

FOLDER, BATCH = "diverged", "batch.npz"  # below the workdir


def keep_batch(config: ConfigDict, source: Source, error: Diverged, workdir: Path) -> UserError:
    """Saves the state and the crops of the first update that was not finite; the error to end with names both."""
    folder, first = workdir / FOLDER, error.first
    state = error.state.replace(g=error.state.g.replace(step=jnp.asarray(first)))
    if parallel.is_lead():
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier time
    parallel.from_lead({})  # the others wait until it is gone
    said = f"config.guard.rollbacks={config.guard.rollbacks}: training diverged again at update {first}"
    anew = "start anew with a lower config.optimizer.learning_rate"
    checkpoints = Checkpoints(folder, 1)
    with suppress(UserError), closing(checkpoints):
        checkpoints.save(first, state, {"rollbacks": error.rollbacks}, None)
    if checkpoints.failures:
        return UserError(f"{said}, which could not be kept in {folder} ({checkpoints.failure}); {anew}")
    if parallel.is_lead():
        call, i = divmod(first, config.steps_per_call)
        feed = make_feed(config, source)
        cut = jax.jit(feed.crops, static_argnums=1)
        hr = cut(next(feed.start(call)), i, jnp.asarray(first))
        (folder / "config.json").write_text(configs.to_json(config))  # another run may follow in the workdir
        with replacing(folder / BATCH) as partial, partial.open("wb") as file:
            np.savez(file, hr=np.asarray(hr), step=first)
    parallel.from_lead({})  # the others would end the lead before it has written
    return UserError(f"{said}; look at it by `srgan replay --workdir {workdir}`, and {anew}")


def replay(workdir: Path) -> dict[str, float]:
    """The figures of the update that a run diverged at, run again from what keep_batch saved, on one device.

    Raises:
      UserError: the folder is no run, or one that did not diverge.
    """
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: no such folder; give a run's")
    folder = workdir / FOLDER
    own = (folder / "config.json").is_file()  # what diverged before there was one has the workdir's
    config = configs.completed(load_config(folder if own else workdir, "--workdir"))
    check(config)  # names a field that a run of an older version lacks
    if not (folder / BATCH).is_file() or not has_checkpoint(folder):
        raise UserError(f"--workdir={workdir}: the run did not diverge (no {FOLDER}/{BATCH} in it)")
    config.parallel.mode, config.parallel.batch_norm = "jit", "global"
    layout = parallel.make_layout(config, devices=1)
    with closing(Checkpoints(folder, 1)) as checkpoints:
        state, meta = checkpoints.restore(start.initial_state(config, layout, resumed=True))
    config = start.lowered(config, meta.get("rollbacks", 0))
    state = with_optimizer(state, config)
    try:
        with (folder / BATCH).open("rb") as file, np.load(file) as kept:
            batch: dict[str, Any] = {"hr": jnp.asarray(kept["hr"]), "position": jnp.arange(config.batch_size)}
    except UNREADABLE as error:
        raise UserError(f"{folder / BATCH}: damaged; the batch cannot be replayed") from error
    stream = jax.random.fold_in(jax.random.key(config.seed), AUGMENT)
    update = jax.jit(make_update(config, build_features(config)))
    _, metrics = update(state, start.load_features(config), batch, jax.random.fold_in(stream, state.g.step))
    return {"step": int(state.g.step)} | {name: float(value) for name, value in metrics.items()}
