"""The two pipelines behind one contract: crops uint8[k, batch, crop, crop, 3] as a function of (seed, step)."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from srgan_jax.data import device_pipeline, host_pipeline
from srgan_jax.data.sources import Source


class Feed(NamedTuple):
    """`start(n)` yields, from call n on, what crosses to the accelerator; `crops` takes one update's crops from it.

    crops(fed, i, step) runs inside jit: i is the update's number within the call, step its number in the run.
    Where `batched`, fed is uint8[updates * k, batch, ...]; otherwise it is the same store on every call.
    """

    start: Callable[[int], Iterator[Any]]
    crops: Callable[[Any, int | Array, Array], Array]
    batched: bool


def make_feed(config: ConfigDict, source: Source) -> Feed:
    """The feed of `config.data.pipeline`; k, the batches per update, is `config.discriminator.updates`."""
    k = config.discriminator.updates if config.discriminator.name != "none" else 1
    size, crop, seed = config.batch_size, config.data.crop, config.seed

    if config.data.pipeline == "device":
        tiles = device_pipeline.make_tiles(source, tile=config.data.tile)

        def same(call: int) -> Iterator[Any]:
            while True:
                yield tiles

        def cut(fed: Any, i: int | Array, step: Array) -> Array:
            numbers = [step * k + j for j in range(k)]
            return jnp.stack(
                [device_pipeline.crops_at(fed, seed=seed, batch=n, batch_size=size, crop=crop) for n in numbers]
            )

        return Feed(same, cut, batched=False)

    dataset = host_pipeline.batches(source, seed=seed, batch_size=size, crop=crop)

    def read(call: int) -> Iterator[Any]:
        group = config.steps_per_call * k
        return host_pipeline.stream(dataset, start=call, group=group, threads=config.data.threads)

    def take(fed: Any, i: int | Array, step: Array) -> Array:
        return fed.reshape(-1, k, *fed.shape[1:])[i]

    return Feed(read, take, batched=True)
