"""A whole run: build, resume, train, validate, save."""

import dataclasses
import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.data.feed import make_feed
from srgan_jax.data.sources import make_source
from srgan_jax.errors import UserError
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.models.build import build_discriminator, build_features, build_generator
from srgan_jax.provenance import code_version
from srgan_jax.training import parallel
from srgan_jax.training.checkpoint import Checkpoints, has_checkpoint
from srgan_jax.training.state import GanState, create_state
from srgan_jax.training.steps import make_call, make_update
from srgan_jax.training.trained import load_config, load_generator
from srgan_jax.training.validate import Validation
from srgan_jax.training.writers import Progress, Writer
from srgan_jax.weights.vgg_file import digest, feature_params

log = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: Path) -> GanState:
    """Trains to `config.steps`, from the workdir's newest checkpoint if there is one. SIGTERM or SIGINT: saves, stops.

    Raises:
      UserError: before anything is written, for input that cannot work.
    """
    _refuse_workdir(workdir)
    mesh = parallel.make_mesh(config.batch_size)
    source = make_source(config.data)
    vgg = build_features(config)
    vgg_params = _feature_params(config)
    facts = {"photographs": source.fingerprint, "feature weights": digest(vgg_params)}
    vgg_params = parallel.place(vgg_params, parallel.replicated(mesh))
    validation = Validation(config) if config.validation.every else None
    generator = build_generator(config)
    state = create_state(config, generator, build_discriminator(config))
    state = parallel.place(state, parallel.replicated(mesh))
    resumed = has_checkpoint(workdir)
    if resumed:
        config = _refuse_changes(config, workdir)
    elif config.init_from:
        state = _warm_start(state, config, mesh)
    feed = make_feed(config, source)
    config = _with_pipeline(config, feed.pipeline)

    with ExitStack() as stack:
        stop = stack.enter_context(_stop_signals())
        stack.enter_context(_lock(workdir))
        checkpoints = stack.enter_context(closing(Checkpoints(workdir, config.checkpoint.keep)))
        if resumed:
            state, meta = checkpoints.restore(state)
            for name, value in facts.items():
                if meta["facts"][name] != value:
                    raise UserError(f"--workdir={workdir}: the run began with other {name}; use another --workdir")
        _describe(config, state, workdir)
        meta = {"facts": facts, "config": config.to_dict(), "code": code_version()}
        start = int(state.g.step)
        if start >= config.steps:
            log.info("%s is complete: step %d of %d", workdir, start, config.steps)
            return state
        if config.init_from and not resumed:  # from here on the other run may change
            checkpoints.save(0, state, meta, None)

        log.info("%s from step %d to %d", workdir, start, config.steps)
        fed = _placed(feed.start(start // config.steps_per_call), feed.batched, mesh)
        batch = next(fed)
        call = make_call(config, make_update(config, vgg), feed.crops, parallel.divide(mesh))
        began = time.monotonic()
        call = parallel.compile_call(call, mesh, batched=feed.batched).lower(state, vgg_params, batch).compile()
        log.info("compiled in %.1f s", time.monotonic() - began)
        upscale = make_upscale(generator)
        writer = stack.enter_context(closing(Writer(workdir, step=start, tensorboard=config.log.tensorboard)))
        progress = Progress(writer, config, start)

        unread = None
        for step in range(start + config.steps_per_call, config.steps + 1, config.steps_per_call):
            state, metrics = call(state, vgg_params, batch)
            with progress.waiting():  # the call runs meanwhile
                batch = next(fed)
            if unread:  # the last call's figures are fetched while this call runs
                progress.add(*unread)
            unread = (step, metrics)

            last = step == config.steps or bool(stop)
            validate = validation and (step % config.validation.every == 0 or step == config.steps)
            save = step % config.checkpoint.every == 0 or last
            if not (validate or save):
                continue
            progress.add(*unread)
            unread, figures = None, None
            with progress.paused():
                if validation and validate:
                    figures, picture = validation.run(upscale, state.g.test_variables())
                    writer.scalars(step, {f"validation/{name}": value for name, value in figures.items()})
                    writer.image(step, "validation", picture)
                    log.info("step %d validation %s", step, _text(figures))
                if save:
                    checkpoints.save(step, state, meta, figures)
            if last:
                break
    log.info("%s at step %d of %d", "stopped by a signal" if stop else "done", step, config.steps)
    return state


def _refuse_workdir(workdir: Path) -> None:
    existing = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"--workdir={workdir}: {existing} is no folder that can be written to")


@contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    """Two processes writing one run would damage it. The lock goes with the process, however it ends."""
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--workdir={workdir}: another process is training there") from error
        yield


def _feature_params(config: ConfigDict) -> Any:
    feature = config.loss.feature
    if not feature.weight:
        return {}
    if feature.weights != "random" and feature.weight_for != feature.origin:
        raise UserError(
            f"config.loss.feature.weight={feature.weight}: was chosen for weights of {feature.weight_for}, not "
            f"{feature.origin}: set the one that `srgan calibrate` proposes, and weight_for to {feature.origin}"
        )
    return feature_params(config)


def _refuse_changes(config: ConfigDict, workdir: Path) -> ConfigDict:
    """The config, with the pipeline that the run began with where it asks for any."""
    saved = load_config(workdir, "--workdir")
    changed = configs.difference(saved, config)
    if changed:
        raise UserError(
            f"--workdir={workdir} holds a run with another config: {'; '.join(changed)}; "
            "use another --workdir, or the same values to resume"
        )
    return _with_pipeline(config, saved.data.pipeline)


def _with_pipeline(config: ConfigDict, pipeline: str) -> ConfigDict:
    """What `auto` came to belongs to the run: on another machine it might come to something else."""
    config = config.copy_and_resolve_references()
    config.data.pipeline = pipeline
    return config


def _warm_start(state: GanState, config: ConfigDict, mesh: Any) -> GanState:
    """The generator, and its running statistics, of another run."""
    field = "config.init_from"
    source = load_generator(config.init_from, field=field)
    networks = source.network, build_generator(config)
    # as built: a run may be older than a field, and a field may be of no use to a network
    theirs, ours = ({"name": type(network).__name__} | dataclasses.asdict(network) for network in networks)
    fields = [n for n in ours if n not in ("parent", "dtype", "axis_name", "icnr")]  # which may differ
    other = [f"generator.{n}: {theirs.get(n)!r} there, {ours[n]!r} here" for n in fields if theirs.get(n) != ours[n]]
    if other:
        raise UserError(f"{field}={config.init_from}: another generator ({'; '.join(other)})")
    log.info("generator from %s, step %d", config.init_from, source.step)
    # copied, since a donated buffer may stand only once in the state
    params, stats, ema = (
        parallel.place(jax.tree.map(np.array, tree), parallel.replicated(mesh))
        for tree in (source.variables["params"], source.variables["batch_stats"], source.variables["params"])
    )
    return state.replace(g=state.g.replace(params=params, batch_stats=stats, ema_params=ema if config.ema else None))


def _describe(config: ConfigDict, state: GanState, workdir: Path) -> None:
    """config.json, which makes the folder a run, and a table of all parameters."""
    workdir.mkdir(parents=True, exist_ok=True)
    text = ""
    for name, player in (("generator", state.g), ("discriminator", state.d)):
        if player is not None:
            log.info("%s: %s parameters", name, f"{parameter_overview.count_parameters(player.params):,}")
            text += f"{name}\n{parameter_overview.get_parameter_overview(player.params, include_stats=False)}\n"
    for path, content in (("parameters.txt", text), ("config.json", configs.to_json(config))):
        partial = workdir / f"{path}.partial"
        partial.write_text(content)
        partial.replace(workdir / path)


def _placed(fed: Iterator[Any], batched: bool, mesh: Any) -> Iterator[Any]:
    """On the devices: each batch as it comes, divided; or the one store, once, on each."""
    if batched:
        yield from (parallel.place(batch, parallel.over_batch(mesh)) for batch in fed)
    store = parallel.place(next(fed), parallel.replicated(mesh))
    while True:
        yield store


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that SIGTERM or SIGINT puts its number into; a second signal ends the process at once."""
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        log.warning("signal %d: saving after this step (again: stop at once)", number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
