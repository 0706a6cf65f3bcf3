"""BatchNorm's statistics of averaged parameters, which no update makes (Izmailov et al. 2018, section 3.2)."""

from collections.abc import Callable
from functools import cache, partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from srgan_jax.data.feed import make_feed
from srgan_jax.data.source import Source
from srgan_jax.models.build import build_generator
from srgan_jax.models.layers import MOVES
from srgan_jax.ops.conv import compiler_options
from srgan_jax.training import parallel
from srgan_jax.training.start import with_fields
from srgan_jax.training.state import AUGMENT, GanState
from srgan_jax.training.steps import make_crops

CROPS, BATCHES = 320, 20  # that the statistics are of, at least


def make_statistics(config: ConfigDict, source: Source, layout: parallel.Layout) -> Callable[[GanState], GanState]:
    """statistics(state) -> state to validate and save: its running statistics, of the parameters in training, replaced.

    By those of the averaged ones, where there are any: means over batches of the run's first crops, each as large as
    what BatchNorm sees at a time, of at most 320; so a function of the averages, the config and its seed.
    """
    network = build_generator(config)
    parts = config.parallel.accumulate * (layout.mesh.size if config.parallel.batch_norm == "replica" else 1)
    size = min(config.batch_size // parts, CROPS)
    count = max(-(-CROPS // size), BATCHES)
    fields = {"batch_size": size, "steps_per_call": 1, "data.pipeline": "host"}
    config = with_fields(config, fields | {"discriminator.updates": 1, "parallel.accumulate": 1})

    @cache
    def batches() -> Any:
        """uint8[count, size, crop, crop, c]."""
        return np.concatenate(list(islice(make_feed(config, source).start(0), count)))

    @partial(jax.jit, compiler_options=compiler_options())
    def moved(params: Any, stats: Any, hr: Array, number: Array) -> Any:
        stream = jax.random.fold_in(jax.random.key(config.seed), AUGMENT)
        batch = {"hr": hr[None], "position": jnp.arange(size)}
        crops = jax.tree.map(lambda x: x[0], make_crops(config, batch, 0, jax.random.fold_in(stream, number)))
        noise = {"noise": crops.seeds} if config.generator.dropout else {}
        variables = {"params": params, "batch_stats": stats}
        return network.apply(variables, crops.lr, train=True, mutable=["batch_stats"], **noise)[1]["batch_stats"]

    def statistics(state: GanState) -> GanState:
        g = state.g
        if g.ema_params is None or not g.batch_stats:
            return state
        params, zeros = jax.tree.map(parallel.own, (g.ema_params, jax.tree.map(jnp.zeros_like, g.batch_stats)))
        each = [moved(params, zeros, hr, i) for i, hr in enumerate(batches())]  # from 0 on: MOVES of a batch's own
        means = jax.tree.map(lambda *values: sum(values) / (MOVES * count), *each)
        return state.replace(g=g.replace(batch_stats=layout.replicate(parallel.leads(means))))

    return statistics
