"""A whole run: build, resume, train, validate, save."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from srgan_jax.data.feed import Feed, make_feed
from srgan_jax.data.sources import make_source
from srgan_jax.errors import UserError, of_memory
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.models.build import build_features, build_generator
from srgan_jax.provenance import code_version, digest_tree
from srgan_jax.training import guards, parallel, start
from srgan_jax.training.call import SKIPPED, STOP, make_call
from srgan_jax.training.checkpoint import Checkpoints, has_checkpoint
from srgan_jax.training.replay import keep_batch
from srgan_jax.training.state import GanState, with_optimizer
from srgan_jax.training.statistics import make_statistics
from srgan_jax.training.steps import make_update
from srgan_jax.training.validate import Validation
from srgan_jax.training.writers import Progress, Writer
from srgan_jax.weights.vgg_file import digest

log = logging.getLogger(__name__)


@dataclass
class Run:
    """What stays the same however often training goes back to a checkpoint."""

    config: ConfigDict
    workdir: Path
    layout: parallel.Layout
    feed: Feed
    facts: dict[str, str]
    code: dict[str, str]  # as it was when the process began: a checkout may change under a run
    feature_params: Any
    validation: Validation | None
    statistics: Callable[[GanState], GanState]
    checkpoints: Checkpoints
    watchdog: guards.Watchdog
    stop: list[int]


def train(config: ConfigDict, workdir: Path) -> GanState:
    """Trains to `config.steps`, from the workdir's newest checkpoint if there is one. SIGTERM or SIGINT: saves, stops.

    Raises:
      UserError: before anything is written, for input that cannot work; later, if training diverges again and again.
    """
    start.refuse_workdir(workdir)
    layout, code = parallel.make_layout(config), code_version()
    source = make_source(config.data)
    feature_params = start.load_features(config)
    facts = {"photographs": source.fingerprint, "feature weights": digest(feature_params.get("feature", {}))}
    if "lpips" in feature_params:
        facts["LPIPS weights"] = digest_tree(feature_params["lpips"])
    resumed = has_checkpoint(workdir)
    parallel.agree({"config": start.digest(config), "checkpoints": str(resumed), **facts})
    validation = Validation(config, source) if config.validation.every and parallel.is_lead() else None
    if resumed:
        start.refuse_apart(workdir)
        config = start.refuse_changes(config, workdir)
    states = [start.initial_state(config, layout, resumed)]  # taken out below: pmap has copies, which is enough
    feed = make_feed(config, source, layout.own_places())
    parallel.agree({"pipeline": feed.pipeline})
    config = start.with_fields(config, {"data.pipeline": feed.pipeline})
    feature_params = layout.enter(layout.replicate(feature_params))
    if not resumed:
        start.refuse_apart(workdir)

    with ExitStack() as stack:
        stop = stack.enter_context(guards.stop_signals())
        if parallel.is_lead():
            stack.enter_context(start.lock(workdir, "is training"))
        if has_checkpoint(workdir) != resumed:  # its config was not compared with this one
            raise UserError(f"--workdir={workdir}: another process has trained there meanwhile; give the command again")
        watchdog = stack.enter_context(guards.Watchdog(config.guard.watchdog))
        checkpoints = stack.enter_context(closing(Checkpoints(workdir, config.checkpoint.keep)))
        stack.enter_context(guards.together())  # before what is above would wait for processes that are gone
        statistics = make_statistics(config, source, layout)
        given = layout, feed, facts, code, feature_params, validation, statistics, checkpoints, watchdog, stop
        run = Run(config, workdir, *given)
        rollbacks = 0
        while True:
            try:
                return _updates(run, states.pop(), rollbacks)
            except guards.Diverged as error:
                diverged = error.with_traceback(None)  # whose frames hold what was on the devices
            if diverged.rollbacks >= config.guard.rollbacks:
                raise keep_batch(run.config, source, diverged, workdir)
            rollbacks = diverged.rollbacks + 1
            rate = config.guard.factor**rollbacks
            log.warning("warning: %s: back to the last checkpoint, learning rate times %g from now on", diverged, rate)
            del diverged  # and its state
            checkpoints.diverged()
            states.append(start.initial_state(config, layout, has_checkpoint(workdir)))


def _updates(run: Run, state: GanState, rollbacks: int) -> GanState:
    """From the newest checkpoint, or `state` where there is none, to the end; at a rate lowered `rollbacks` times.

    Raises:
      Diverged: too many updates in a row were not finite.
    """
    config, layout = run.config, run.layout
    resumed = has_checkpoint(run.workdir)
    if resumed:
        state, meta = run.checkpoints.restore(state)
        for name, value in run.facts.items():
            if meta["facts"].get(name, value) != value:
                raise UserError(f"--workdir={run.workdir}: the run began with other {name}; use another --workdir")
        rollbacks = max(rollbacks, meta.get("rollbacks", 0))
    first = int(state.g.step)
    if first >= config.steps:
        log.info("%s is complete: step %d of %d", run.workdir, first, config.steps)
        return state
    if first % config.steps_per_call:
        field = f"config.steps_per_call={config.steps_per_call}"
        raise UserError(f"{field}: the run goes on from step {first}; until it has saved again give what divides that")
    if parallel.is_lead():
        start.describe(config, state, run.workdir)
        run.checkpoints.described = True
    if config.init_from and not resumed:  # from here on the other run may change
        run.checkpoints.save(0, state, _meta(run, 0), None)
    lowered = start.lowered(config, rollbacks)
    state = layout.enter(with_optimizer(state, lowered))

    log.info("%s from step %d to %d on %s", run.workdir, first, config.steps, layout.describe())
    run.watchdog.begin()
    fed = _placed(run, first // config.steps_per_call)
    batch, flags = next(fed), (layout.flag(False), layout.flag(True))
    update = make_update(lowered, build_features(config), layout.axis_name)
    call = make_call(lowered, update, run.feed.crops, layout)
    began = time.monotonic()
    call = layout.jit(call, batched=run.feed.batched)
    call = parallel.compiled(call, state, run.feature_params, batch, flags[0])
    log.info("compiled in %.1f s", time.monotonic() - began)
    upscale = make_upscale(build_generator(config))

    with closing(Writer(run.workdir, step=first, tensorboard=config.log.tensorboard)) as writer:
        progress, skips = Progress(writer, config, first), guards.Skips(config.guard.patience)

        def read(step: int, figures: Any) -> bool:
            """One call's figures, which this waits for. Whether a process was told to stop."""
            figures = layout.host(figures)
            run.watchdog.step()
            skipped, stop = figures.pop(SKIPPED), figures.pop(STOP)
            progress.add(step, figures, skipped)
            if skips.add(step, skipped):
                raise guards.Diverged(skips.first, rollbacks, layout.leave(state))
            return bool(stop)

        unread, stopping = None, False
        for step in range(first + config.steps_per_call, config.steps + 1, config.steps_per_call):
            state, figures = call(state, run.feature_params, batch, flags[bool(run.stop)])
            with progress.waiting():  # the call runs meanwhile
                batch = next(fed)
            if unread:  # the last call's figures are fetched while this call runs
                stopping = read(*unread)
            unread = (step, figures)

            last = step == config.steps or stopping
            validate = config.validation.every and (step % config.validation.every == 0 or step == config.steps)
            save = step % config.checkpoint.every == 0 or validate or last  # what was measured may be the best
            if not save:
                continue
            stopping, unread = read(*unread) or stopping, None
            run.watchdog.begin()
            with progress.paused():
                whole = run.statistics(layout.leave(state))
                try:
                    measured = _validate(run, upscale, whole, writer, step) if validate else None
                except UserError:
                    if jax.process_count() == 1:  # else the others wait for the figures, not for a save
                        run.checkpoints.save(step, whole, _meta(run, rollbacks), None)
                    raise
                if not skips.row or last or stopping:  # one that begins to diverge is no place to go back to
                    run.checkpoints.save(step, whole, _meta(run, rollbacks), measured)
            if last or stopping:
                break
    log.info("%s at step %d of %d", "stopped by a signal" if stopping else "done", step, config.steps)
    return whole


def _validate(run: Run, upscale: Any, state: GanState, writer: Writer, step: int) -> dict[str, float]:
    """The same figures on every process; the lead measures them.

    Raises:
      UserError: memory does not do for a picture.
    """
    figures: dict[str, float] = {}
    if run.validation:
        try:
            figures, picture = run.validation.run(upscale, jax.tree.map(parallel.own, state.g.test_variables()))
        except (MemoryError, RuntimeError) as error:
            if not of_memory(error):
                raise
            given = f"config.validation.crop={run.config.validation.crop}"
            raise UserError(f"{given}: too much for the memory; set a smaller one (0 is whole pictures)") from error
        writer.scalars(step, {f"validation/{name}": value for name, value in figures.items()})
        writer.image(step, "validation", picture)
        log.info("step %d validation %s", step, "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        figures["of"] = run.validation.of
    return parallel.from_lead(figures)


def _meta(run: Run, rollbacks: int) -> dict[str, Any]:
    config = run.config.to_dict()
    return {"facts": run.facts, "config": config, "code": run.code, "rollbacks": rollbacks}


def _placed(run: Run, call: int) -> Iterator[Any]:
    """On the devices, from this call on: each batch as it comes, divided; or the one store, once, on each."""
    fed = run.feed.start(call)
    if run.feed.batched:
        yield from (run.layout.feed(batch, batched=True) for batch in fed)
    try:
        store = run.layout.feed(next(fed), batched=False)
    except RuntimeError as error:
        if not of_memory(error) or jax.process_count() > 1:
            raise
        remedy = "use host, which a run that began with device does not take: in another --workdir"
        raise UserError(f"config.data.pipeline='device': not enough memory on the device; {remedy}") from error
    del fed  # and with it the host's copy
    while True:
        yield store
