"""Crops cut on the host by Grain: any amount of data, decoded as it is needed."""

from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import UInt8

from srgan_jax.data.sources import Source


def batches(source: Source, *, seed: int, batch_size: int, crop: int) -> grain.MapDataset:
    """Random access to training batches: `batches(...)[n]` is uint8[batch, crop, crop, 3], a function of (seed, n).

    Every photograph is visited once per epoch, in an order that each epoch draws anew; so a batch has distinct
    photographs as long as there are enough of them.
    """

    def cut(index: int, rng: np.random.Generator) -> UInt8[np.ndarray, "crop crop 3"]:
        image = source.photograph(index)
        top, left = (int(rng.integers(0, side - crop + 1)) for side in image.shape[:2])
        return image[top : top + crop, left : left + crop]

    photographs = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    return photographs.random_map(cut).batch(batch_size)


def stream(dataset: grain.MapDataset, *, start: int, group: int, threads: int) -> Iterator[np.ndarray]:
    """Groups of `group` consecutive batches, uint8[group, batch, crop, crop, 3], from group `start` on, read ahead."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * threads // group, threads))
    iterator = iter(dataset.batch(group).to_iter_dataset(options))
    iterator.set_state({"next_index": start})
    return iterator
