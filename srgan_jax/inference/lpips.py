"""LPIPS of a picture against its original: uint8 in, one figure out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from srgan_jax.errors import UserError
from srgan_jax.inference.programs import bounded
from srgan_jax.models.lpips import LPIPS, SMALLEST
from srgan_jax.weights.lpips_file import load_lpips

# With a border of 4 pixels removed, as for PSNR, bicubic on Set5 (AlexNet) reads .3435 and not the usual .3398.
LPIPS_CONVENTION = "LPIPS v0.1 on RGB, uint8 / 127.5 - 1, no border removed, lower is closer"

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Lpips:
    """Called with (sr, hr) gives their distance, LPIPS_CONVENTION; compiled once for each size of picture.

    name: "lpips_alex" or "lpips_vgg". convention: with the weights' digest. smallest: side, in pixels.
    The call raises ValueError for pictures that differ in shape, UserError for such that are too small.
    """

    name: str
    convention: str
    smallest: int
    measure: Callable[[Picture, Picture], float]

    def __call__(self, sr: Picture, hr: Picture) -> float:
        return self.measure(sr, hr)


def make_lpips(path: Path, field: str) -> Lpips:
    """The measure of a file that `srgan convert lpips` wrote; `field` names the argument in messages.

    Raises:
      UserError: as load_lpips.
    """
    weights = load_lpips(path, field)
    network, smallest = LPIPS(weights.network), SMALLEST[weights.network]
    params = jax.device_put(weights.params)

    @bounded
    @jax.jit
    def apply(params: Any, sr: jax.Array, hr: jax.Array) -> jax.Array:
        pictures = (image[None].astype(jnp.float32) / 127.5 - 1 for image in (sr, hr))
        distances = network.apply({"params": params}, *pictures)
        assert isinstance(distances, jax.Array)
        return distances[0]

    def measure(sr: Picture, hr: Picture) -> float:
        if min(hr.shape[:2]) < smallest:
            size, needed = f"{hr.shape[1]}x{hr.shape[0]}", f"{smallest}x{smallest}"
            raise UserError(f"{field}={path}: a picture of {size} is too small, it needs {needed}; leave that one out")
        return float(apply(params, sr, hr))

    return Lpips(f"lpips_{weights.network}", f"{LPIPS_CONVENTION}; weights {weights.digest}", smallest, measure)
