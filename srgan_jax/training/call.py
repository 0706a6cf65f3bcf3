"""From one update to one compiled call: several updates, each with its crops, its key and its guard."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from srgan_jax.training.packed import pack_state, packs
from srgan_jax.training.parallel import Layout
from srgan_jax.training.state import AUGMENT, GanState
from srgan_jax.training.steps import Metrics, Update, unrolls

SKIPPED, STOP = "skipped", "stop"


def guarded(update: Update) -> Update:
    """The update, or where one of its figures is not finite, the state as it was but for the count of steps.

    The count goes on, since it is what chooses the crops. A gradient that is not finite shows in its norm, a
    discriminator that is not in the next loss. metrics["skipped"] is 1 where the update was skipped, and then the
    other figures are 0.
    """

    def checked(state: GanState, feature_params: Any, batch: dict[str, Array], key: Array) -> tuple[GanState, Metrics]:
        new, metrics = update(state, feature_params, batch, key)
        finite = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))

        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        g = kept.g.replace(step=new.g.step)
        new = kept.replace(g=g, d=None if new.d is None else kept.d.replace(step=new.d.step))
        metrics = {name: jnp.where(finite, value, 0) for name, value in metrics.items()}
        return new, metrics | {SKIPPED: 1 - finite.astype(jnp.int32)}

    return checked


def make_call(config: ConfigDict, update: Update, crops: Callable, layout: Layout) -> Callable:
    """call(state, feature_params, fed, flag) -> (state, metrics): `config.steps_per_call` guarded updates in a program.

    crops(fed, i, step, places) gives one update's crops. Metrics are means over the updates that were not skipped,
    "skipped" says for each in turn whether it was, "stop" is the sum of all devices' flags.
    """
    count = config.steps_per_call
    update = guarded(update)

    def cast(path: Any, x: Array) -> Array:
        return x.astype(config.dtype) if path[-1].key in ("kernel", "bias") else x  # LPIPS has weights of its sum, too

    def one(state: GanState, feature_params: Any, fed: Any, i: int | Array) -> tuple[GanState, Metrics]:
        step, places = state.g.step, layout.places()
        batch = {"hr": layout.divide(crops(fed, i, step, places)), "position": places}
        stream = jax.random.fold_in(jax.random.key(config.seed), AUGMENT)
        return update(state, feature_params, batch, jax.random.fold_in(stream, step))

    def call(state: GanState, feature_params: Any, fed: Any, flag: Array) -> tuple[GanState, Metrics]:
        # convolutions are cast once in a call: the networks would do it in each update
        feature_params = jax.tree.map_with_path(cast, feature_params)
        if count > 1 and not unrolls():
            state, back = pack_state(state) if packs() else (state, lambda state: state)
            state, history = jax.lax.scan(lambda s, i: one(s, feature_params, fed, i), state, jnp.arange(count))
            state = back(state)
        else:
            updates = []
            for i in range(count):
                state, metrics = one(state, feature_params, fed, i)
                updates.append(metrics)
            history = jax.tree.map(lambda *values: jnp.stack(values), *updates)
        skipped = history.pop(SKIPPED)
        whole = jnp.maximum(count - jnp.sum(skipped), 1)
        stop = jnp.sum(flag)
        if layout.axis_name:
            stop = jax.lax.psum(stop, layout.axis_name)
        return state, {name: jnp.sum(v) / whole for name, v in history.items()} | {SKIPPED: skipped, STOP: stop}

    return call
