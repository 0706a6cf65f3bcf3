"""Whole data sets through trained generators, and their PSNR without all that `srgan evaluate` works out beside it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from srgan_jax.evaluation.pairs import find_set
from srgan_jax.inference.pictures import Picture
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.metrics import psnr
from srgan_jax.ops.color import rgb_to_y
from srgan_jax.training.trained import Generator

program = cache(make_upscale)  # of equal networks one, whatever their weights


def enlarged(generators: Sequence[Generator], folder: Path) -> list[list[tuple[Picture, Picture, bool]]]:
    """(sr, hr, whether hr's file is grey) of each picture of a set with LRx4, for each generator."""
    pairs = find_set(folder, scale=4, boundary="symmetric")[1]
    return [
        [
            (program(g.network)(g.variables, lr), hr, grey)
            for lr, hr, grey in zip(pairs.lr, pairs.hr, pairs.grey, strict=True)
        ]
        for g in generators
    ]


def mean_psnr_y(pictures: Sequence[tuple[Picture, Picture, bool]]) -> float:
    """metrics.figures' psnr_y of pictures of scale 4."""
    inner = slice(4, -4)
    planes = ([rgb_to_y(image[inner, inner], studio=not grey) for image in pair] for *pair, grey in pictures)
    return float(np.mean([psnr(*both) for both in planes]))
