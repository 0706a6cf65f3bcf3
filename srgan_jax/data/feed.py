"""The two pipelines behind one contract: crops uint8[k, batch, crop, crop, c] as a function of (seed, step)."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int
from ml_collections import ConfigDict

from srgan_jax.data import device_pipeline, host_pipeline
from srgan_jax.data.source import Source
from srgan_jax.data.store import with_store

SHARE = 4  # of the accelerator's free memory, a quarter may go to photographs

log = logging.getLogger(__name__)


class Feed(NamedTuple):
    """`start(n)` yields, from call n on, what crosses to the accelerator; `crops` takes one update's crops from it.

    crops(fed, i, step, places) runs inside jit: i is the update's number within the call, step its number in the run,
    places those of the crops in the global batch, all (None) or one device's. Where `batched`, fed is
    uint8[updates * k, batch, ...]; otherwise it is the same store on every call, and goes with the iterator.
    `pipeline` is host or device: their crops differ, so a run keeps to the one that it began with.
    """

    pipeline: str

    start: Callable[[int], Iterator[Any]]
    crops: Callable[..., Array]
    batched: bool


def make_feed(config: ConfigDict, source: Source, places: Int[np.ndarray, " b"] | None = None) -> Feed:
    """The feed of `config.data.pipeline`; k, the batches per update, is `config.discriminator.updates`.

    places: in the global batch, of the crops that this process feeds; by default all.

    Raises:
      UserError: not one photograph can be read, or the store that is asked for cannot be written.
    """
    source = with_store(source, config.data)
    source.photograph(0)
    k = config.discriminator.updates if config.discriminator.name != "none" else 1
    size, crop, seed = config.batch_size, config.data.crop, config.seed

    pipeline = config.data.pipeline
    if pipeline == "auto":
        pipeline = choose(
            source.sizes, tile=config.data.tile, crop=crop, free=device_pipeline.free_memory(), channels=source.channels
        )
    if pipeline == "device":
        make_tiles = partial(device_pipeline.make_tiles, source, tile=config.data.tile)
        made = [make_tiles()]  # now, where faults of the photographs still stop everything

        def same(call: int) -> Iterator[Any]:
            tiles = made.pop() if made else make_tiles()
            while True:
                yield tiles

        def cut(fed: Any, i: int | Array, step: Array, places: Array | None = None) -> Array:
            places = jnp.arange(size) if places is None else places
            at = partial(device_pipeline.crops_at, fed, seed=seed, batch_size=size, crop=crop, places=places)
            return jnp.stack([at(batch=step * k + j) for j in range(k)])

        return Feed(pipeline, same, cut, batched=False)

    dataset = host_pipeline.batches(source, seed=seed, batch_size=size, crop=crop, places=places)

    def read(call: int) -> Iterator[Any]:
        group = config.steps_per_call * k
        return host_pipeline.stream(dataset, start=call, group=group, threads=config.data.threads)

    def take(fed: Any, i: int | Array, step: Array, places: Array | None = None) -> Array:
        return fed.reshape(-1, k, *fed.shape[1:])[i]

    return Feed(pipeline, read, take, batched=True)


def choose(sizes: list[tuple[int, int]], *, tile: int, crop: int, free: int | None, channels: int = 3) -> str:
    """device where the tiles of photographs of these sizes fit an accelerator that has `free` bytes, else host."""
    if free is None or not sizes or tile < crop:
        return "host"
    need = device_pipeline.tiles_bytes(sizes, tile, channels)
    pipeline = "device" if SHARE * need <= free else "host"
    log.info("pipeline %s: on the accelerator the photographs take %.0f of %.0f MB", pipeline, need / 1e6, free / 1e6)
    return pipeline
