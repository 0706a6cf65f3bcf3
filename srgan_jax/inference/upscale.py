"""A whole picture through a generator: levels in, levels out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt

from srgan_jax.inference.fold import fold
from srgan_jax.inference.programs import bounded
from srgan_jax.models.build import multiple
from srgan_jax.ops.color import signed_to_levels
from srgan_jax.ops.conv import compiler_options

Upscale = Callable[[Any, UInt[np.ndarray, "h w 3"]], UInt[np.ndarray, "H W 3"]]


def make_upscale(generator: nn.Module, *, noise: int | None = None) -> Upscale:
    """upscale(variables, lr) -> sr, of lr's dtype (uint8 or uint16); compiled once for each size of picture.

    Where the network takes multiples only, the picture is mirrored on, and the result cut. noise: a seed; the network
    then drops features, as it did while it was trained.
    """
    whole, apply = multiple(generator), make_program(generator, noise)

    def upscale(variables: Any, lr: UInt[np.ndarray, "h w 3"]) -> UInt[np.ndarray, "H W 3"]:
        height, width = (generator.scale * side for side in lr.shape[:2])
        if whole > 1:
            lr = np.pad(lr, [(0, -side % whole) for side in lr.shape[:2]] + [(0, 0)], mode="symmetric")
        return np.asarray(apply(variables, lr))[:height, :width]

    return upscale


def make_program(generator: nn.Module, noise: int | None = None) -> Any:
    """What make_upscale compiles: apply(variables, lr) -> sr, jitted."""
    seeds: dict[str, Any] = {} if noise is None else {"noise": jnp.array([noise], jnp.uint32)}

    @partial(jax.jit, compiler_options=compiler_options())
    def apply(variables: Any, lr: jax.Array) -> jax.Array:
        network, folded = fold(generator, variables)
        unit = lr[None].astype(jnp.float32) / jnp.iinfo(lr.dtype).max
        sr = network.apply(folded, unit, train=False, **seeds)
        assert isinstance(sr, jax.Array)
        return signed_to_levels(sr[0], lr.dtype)

    return bounded(apply)
