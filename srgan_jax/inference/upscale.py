"""A photograph through a generator: uint8 in, uint8 out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from srgan_jax.inference.fold import fold
from srgan_jax.ops.color import signed_to_uint8
from srgan_jax.ops.conv import compiler_options

Upscale = Callable[[Any, UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "H W 3"]]


def make_upscale(generator: nn.Module) -> Upscale:
    """upscale(variables, lr) -> sr, whole, with running statistics; compiled once for each size of picture."""

    @partial(jax.jit, compiler_options=compiler_options())
    def apply(variables: Any, lr: jax.Array) -> jax.Array:
        network, folded = fold(generator, variables)
        sr = network.apply(folded, lr[None].astype(jnp.float32) / 255, train=False)
        assert isinstance(sr, jax.Array)
        return signed_to_uint8(sr[0])

    return lambda variables, lr: np.asarray(apply(variables, lr))
