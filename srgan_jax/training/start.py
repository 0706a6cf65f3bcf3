"""What a run is checked for and given before its first update."""

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.fields import flatten
from srgan_jax.files import replacing
from srgan_jax.models.build import build_discriminator, build_generator, differences
from srgan_jax.provenance import digest_tree
from srgan_jax.training.parallel import Layout, agree, from_lead, is_lead
from srgan_jax.training.state import GanState, create_state, make_state
from srgan_jax.training.trained import load_config, load_generator
from srgan_jax.weights.lpips_file import find_lpips, load_lpips
from srgan_jax.weights.vgg_file import feature_params

log = logging.getLogger(__name__)
OWN = frozenset(
    "init_from data.path data.target data.store data.threads data.cache_mb loss.feature.weights validation.path "
    "validation.target validation.lpips".split()
)
LAG = 5  # seconds that a new file may take to be seen by all machines


def refuse_workdir(workdir: Path) -> None:
    """Raises UserError for an address such as gs://bucket/run, and for no folder that checkpoints can be written to."""
    address = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(workdir))
    if address:
        raise UserError(
            f"--workdir={workdir}: {address[0]}/ is an address; runs live in a local or mounted folder, give its path"
        )
    unfit = re.search(r"[*?[\udc80-\udcff]", str(workdir.absolute()))  # Orbax globs in it, and takes UTF-8 alone
    if unfit:
        raise UserError(f"--workdir={workdir}: no checkpoint can be kept below a folder with {unfit[0]!r} in its name")
    existing = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"--workdir={workdir}: {existing} is no folder that can be written to")


@contextmanager
def lock(workdir: Path, does: str) -> Iterator[None]:
    """Two processes writing one folder would damage it. The lock goes with the process, however it ends.

    Raises:
      UserError: another process holds it, and `does` something there; or the file system has no locks.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--workdir={workdir}: another process {does} there") from error
        except OSError as error:
            reason = f"{error.strerror}: its file system has no locks"
            raise UserError(f"--workdir={workdir}: {reason}; mount it with them (flock), or use another") from error
        yield


def refuse_apart(workdir: Path) -> None:
    """Raises UserError on all processes where one of them sees another folder at `workdir` than the lead."""
    if jax.process_count() == 1:
        return
    workdir.mkdir(parents=True, exist_ok=True)  # on each: NFS may still remember that there was none
    mark = workdir / from_lead({"mark": f".{secrets.token_hex(8)}"})["mark"]
    if is_lead():
        mark.touch()
    from_lead({})  # the others wait until it is there
    deadline = time.monotonic() + LAG
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    seen = f"files in --workdir={workdir}, which must be one folder for all,"
    try:
        agree({seen: str(mark.exists())})
    finally:
        if is_lead():
            mark.unlink()


def load_features(config: ConfigDict) -> Any:
    """Parameters of the networks that build_features gives, by the same names.

    Raises:
      UserError: weights are not there, or the content loss' weight was chosen for others.
    """
    feature, lpips, params = config.loss.feature, config.loss.lpips, {}
    if lpips.weight:
        field = "config.loss.lpips.network"
        path = find_lpips(lpips.network, field)
        weights = load_lpips(path, field)
        if weights.network != lpips.network:
            raise UserError(f"{field}={lpips.network}: {path} is of {weights.network}; `srgan convert lpips` again")
        params["lpips"] = weights.params
    if not feature.weight:
        return params
    if feature.weights != "random" and feature.weight_for != feature.origin:
        raise UserError(
            f"config.loss.feature.weight={feature.weight}: was chosen for weights of {feature.weight_for}, not "
            f"{feature.origin}: set the one that `srgan calibrate` proposes, and weight_for to {feature.origin}"
        )
    return params | {"feature": feature_params(config)}


def refuse_changes(config: ConfigDict, workdir: Path) -> ConfigDict:
    """The config, with what the run began with: the pipeline where it asks for any, and whose generator."""
    saved = load_config(workdir, "--workdir")
    changed = configs.difference(saved, config)
    if changed:
        raise UserError(
            f"--workdir={workdir} holds a run with another config: {'; '.join(changed)}; "
            "use another --workdir, or the same values to resume"
        )
    return with_fields(config, {"data.pipeline": saved.data.pipeline, "init_from": saved.init_from})


def with_fields(config: ConfigDict, fields: dict[str, Any]) -> ConfigDict:
    """A copy with these set, such as what `auto` came to: on another machine it might come to something else."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    return config


def lowered(config: ConfigDict, rollbacks: int) -> ConfigDict:
    """A copy with the learning rate that is left after so many returns to an earlier checkpoint."""
    rate = config.optimizer.learning_rate * config.guard.factor**rollbacks
    return with_fields(config, {"optimizer.learning_rate": rate})


def digest(config: ConfigDict) -> str:
    """Of all fields but those that each machine may have its own values of."""
    fields = {name: value for name, value in flatten(config).items() if name not in OWN}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def networks(config: ConfigDict, layout: Layout) -> tuple[nn.Module, nn.Module | None]:
    """G and D, whose BatchNorm knows what its means are over."""
    axis_name = layout.axis_name if config.parallel.batch_norm == "global" else None
    return build_generator(config, axis_name=axis_name), build_discriminator(config, axis_name=axis_name)


def initial_state(config: ConfigDict, layout: Layout, resumed: bool) -> GanState:
    """At step 0, on the devices; where the run is `resumed` only shapes and places, for what is restored.

    Raises:
      UserError: the run that the generator is to come from does not fit.
    """
    players = networks(config, layout)
    if resumed:
        shapes = jax.eval_shape(partial(make_state, config, *players))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.everywhere), shapes)
    state = layout.replicate(create_state(config, *players))
    return _warm_start(state, config, layout) if config.init_from else state


def _warm_start(state: GanState, config: ConfigDict, layout: Layout) -> GanState:
    """The generator, and its running statistics, of another run."""
    field = "config.init_from"
    source = load_generator(config.init_from, field=field)
    other = differences(source.network, build_generator(config))
    if other:
        raise UserError(f"{field}={config.init_from}: another generator ({'; '.join(other)})")
    agree({f"weights in {field}": digest_tree(source.variables)})
    log.info("generator from %s, step %d", config.init_from, source.step)
    # copied, since a donated buffer may stand only once in the state
    params, stats, ema = (
        layout.replicate(jax.tree.map(np.array, tree))
        for tree in (source.variables["params"], source.variables["batch_stats"], source.variables["params"])
    )
    return state.replace(g=state.g.replace(params=params, batch_stats=stats, ema_params=ema if config.ema else None))


def describe(config: ConfigDict, state: GanState, workdir: Path) -> None:
    """config.json, which makes the folder a run, and a table of all parameters."""
    from clu import parameter_overview  # what is compiled alone does without clu

    text = ""
    for name, player in (("generator", state.g), ("discriminator", state.d)):
        if player is not None:
            log.info("%s: %s parameters", name, f"{int(parameter_overview.count_parameters(player.params)):,}")
            text += f"{name}\n{parameter_overview.get_parameter_overview(player.params, include_stats=False)}\n"
    for path, content in (("parameters.txt", text), ("config.json", configs.to_json(config))):
        with replacing(workdir / path) as partial:
            partial.write_text(content)
