"""Geometric self-ensemble (Lim et al. 2017, EDSR): the mean over the eight ways to turn and mirror a picture.

A convolutional network makes something a little different of each, and the mean is nearer to the original.
"""

from collections.abc import Hashable, Iterator
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Num, UInt

from srgan_jax.inference.upscale import Upscale

EIGHT = range(8)

Picture = Num[np.ndarray, "h w c"]
Key = TypeVar("Key", bound=Hashable)


def turned(picture: Picture, way: int) -> Picture:
    """By `way` % 4 quarters, and then, from 4 on, mirrored; 0 leaves it as it is."""
    quarters = np.rot90(picture, way % 4)
    return quarters[:, ::-1] if way >= 4 else quarters


def returned(picture: Picture, way: int) -> Picture:
    """What `turned` was given."""
    return np.rot90(picture[:, ::-1] if way >= 4 else picture, -(way % 4))


def deepened(picture: Picture) -> Picture:
    """8 bits as 16, so that each of the eight is rounded more finely than their mean."""
    return picture.astype(np.uint16) * np.uint16(257) if picture.dtype == np.uint8 else picture


def weighed(picture: Picture) -> Picture:
    """A deepened picture's colour times its alpha, if it has any: what is clear in one way counts for nothing."""
    weighed = picture.astype(np.float32)
    if has_alpha(picture):
        weighed[..., :-1] *= weighed[..., -1:] / top(picture.dtype)
    return weighed


def mean(total: Picture, dtype: Any) -> Picture:
    """Of eight whose sum, weighed, is `total`; rounded where dtype has levels."""
    average = total / np.float32(len(EIGHT))
    if has_alpha(average):
        average[..., :-1] /= np.maximum(average[..., -1:] / top(dtype), np.float32(1e-6))
    if not np.issubdtype(dtype, np.integer):
        return average.astype(dtype)
    return np.floor(average / np.float32(257 if dtype == np.uint8 else 1) + np.float32(0.5)).astype(dtype)


def has_alpha(picture: Picture) -> bool:
    return picture.shape[-1] in (2, 4)


def top(dtype: Any) -> np.float32:
    """Of what is deepened."""
    return np.float32(65535 if np.issubdtype(dtype, np.integer) else 1)


def averaged(parts: Iterator[tuple[Key, int, Picture]], dtype: Any) -> Iterator[tuple[Key, Picture]]:
    """(what, way, deepened picture) to (what, mean), once all the ways of one have come, in their order."""
    sums: dict[Key, Picture] = {}
    for key, way, picture in parts:
        sums[key] = weighed(picture) + sums.pop(key, np.float32(0))
        if way == EIGHT[-1]:
            yield key, mean(sums.pop(key), dtype)


def ensembled(upscale: Upscale) -> Upscale:
    """An upscale(variables, lr) that takes eight times as long."""

    def by_all(variables: Any, lr: UInt[np.ndarray, "h w 3"]) -> UInt[np.ndarray, "H W 3"]:
        deep = deepened(lr)
        parts = ((None, way, returned(upscale(variables, turned(deep, way)), way)) for way in EIGHT)
        return next(averaged(parts, lr.dtype))[1]

    return by_all
