"""Crops cut on the host, read ahead by Grain: any amount of data, of which only what is cut is touched."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from srgan_jax.data.source import Source

if TYPE_CHECKING:  # imported where it is used: the device pipeline does without
    import grain


def batches(
    source: Source, *, seed: int, batch_size: int, crop: int, places: Int[np.ndarray, " b"] | None = None
) -> "grain.MapDataset":
    """Random access to training batches: `batches(...)[n]` is uint8[b, crop, crop, c], a function of (seed, n).

    places: which of the batch's crops, by default all; for the others nothing is read. Every photograph is visited once
    per epoch, in an order that each epoch draws anew; so a batch has distinct photographs as long as there are enough.
    """
    import grain

    count = len(source)
    wanted = np.arange(batch_size) if places is None else places

    @lru_cache(maxsize=8)  # threads may be in several epochs at once
    def order(epoch: int) -> Int[np.ndarray, " n"]:
        return np.random.default_rng([seed, 1, epoch]).permutation(count)

    def cut(number: int) -> UInt8[np.ndarray, "b crop crop c"]:
        corners = np.random.default_rng([seed, 2, number]).random((batch_size, 2))
        crops = np.empty((len(wanted), crop, crop, source.channels), np.uint8)
        for i, position in enumerate(wanted):
            epoch, place = divmod(number * batch_size + int(position), count)
            image = source.photograph(int(order(epoch)[place]))
            top, left = (corners[position] * (np.array(image.shape[:2]) - crop + 1)).astype(int)
            crops[i] = image[top : top + crop, left : left + crop]
        return crops

    return grain.MapDataset.range(2**62).map(cut)


def stream(dataset: "grain.MapDataset", *, start: int, group: int, threads: int) -> Iterator[np.ndarray]:
    """Groups of `group` consecutive batches, uint8[group, batch, crop, crop, c], from group `start` on, read ahead."""
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * threads // group, threads))
    iterator = iter(dataset.batch(group).to_iter_dataset(options))
    iterator.set_state({"next_index": start})
    return iterator
