"""What training changes: two TrainStates, one for each player."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state
from ml_collections import ConfigDict

from srgan_jax.training.pool import Pool, empty

INIT, AUGMENT = 0, 3  # purposes of the seed's random streams; 1 and 2 are the order and place of crops


class TrainState(train_state.TrainState):
    """One player: parameters, optimiser state, BatchNorm's running statistics, averaged parameters if asked for."""

    batch_stats: Any
    ema_params: Any

    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}

    def test_variables(self) -> dict[str, Any]:
        """What validation and results use: the averaged parameters where there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}


class GanState(struct.PyTreeNode):
    """Both players; d is None for SRResNet, which trains by the same step and has the same checkpoints."""

    g: TrainState
    d: TrainState | None
    pool: Pool | None = None  # of config.discriminator.pool


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """The rate as a function of the generator's updates made, skipped ones not counted."""
    o = config.optimizer
    if o.schedule == "step":
        base = optax.piecewise_constant_schedule(o.learning_rate, dict.fromkeys(o.boundaries, o.factor))
    elif o.schedule == "linear":
        begin = o.boundaries[0] if o.boundaries else 0
        base = optax.linear_schedule(o.learning_rate, 0.0, config.steps - begin, begin)
    elif o.schedule == "cosine":
        base = optax.cosine_decay_schedule(o.learning_rate, config.steps)
    else:
        base = optax.constant_schedule(o.learning_rate)
    if not o.warmup:
        return base
    return lambda step: base(step) * jnp.minimum(1.0, (step + 1) / o.warmup)


def optimizers(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """G's and D's. Their states depend on the config's optimizer.name, not on the rate."""
    o, rate = config.optimizer, learning_rate(config)
    k = config.discriminator.updates  # D counts k updates for each of G's

    def make(schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule) if o.name == "sgd" else optax.adam(schedule, b1=o.b1, b2=o.b2, eps=o.eps)

    return make(rate), make(lambda n: rate(n // k))


def updates_made(player: TrainState) -> jax.Array:
    """What `player`'s rate goes by; its step counts skipped updates, too."""
    return player.opt_state[-1].count  # the schedule comes last in both optimisers


def with_optimizer(state: GanState, config: ConfigDict) -> GanState:
    """The same state going on with the config's rate."""
    for_g, for_d = optimizers(config)
    return state.replace(g=state.g.replace(tx=for_g), d=state.d and state.d.replace(tx=for_d))


def create_state(config: ConfigDict, generator: nn.Module, discriminator: nn.Module | None) -> GanState:
    """The state at step 0, a function of the config and its seed.

    One program, which runs once: on CPUs LLVM's first level gave the same bits, and is several times faster to compile.
    """
    level = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
    return jax.jit(partial(make_state, config, generator, discriminator), compiler_options=level)()


def make_state(config: ConfigDict, generator: nn.Module, discriminator: nn.Module | None) -> GanState:
    """create_state as a pure function, for jax.eval_shape, say."""
    for_g, for_d = optimizers(config)
    key_g, key_d = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), INIT))

    def player(
        network: nn.Module,
        key: jax.Array,
        shape: tuple[int, int, int],
        optimizer: optax.GradientTransformation,
        ema: bool,
    ) -> TrainState:
        variables = network.init(key, jnp.zeros((1, *shape)), train=False)
        state = TrainState.create(
            apply_fn=network.apply,
            params=variables["params"],
            tx=optimizer,
            batch_stats=variables.get("batch_stats", {}),
            ema_params=variables["params"] if ema else None,  # as the program's output, in buffers of their own
        )
        return state.replace(step=jnp.zeros((), jnp.int32))

    side, crop = config.data.crop // config.scale, config.data.crop
    g = player(generator, key_g, (side, side, 3), for_g, config.ema > 0)
    if discriminator is None:
        return GanState(g, None)
    channels = 6 if config.discriminator.conditional else 3
    d = player(discriminator, key_d, (crop, crop, channels), for_d, False)
    size = config.discriminator.pool
    return GanState(g, d, empty(size, crop, channels) if size else None)
