"""How far a generator sees, and a generator on the part of its input that is picture."""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from srgan_jax.errors import UserError
from srgan_jax.models.layers import Conv

SKIP = 2  # LR pixels that a bicubic skip sees to each side


@cache
def reach(network: nn.Module) -> int:
    """LR pixels to each side that an SR pixel depends on, at most.

    The sum over all convolutions of half the kernel, each in pixels of its own resolution. Normalisation counts for
    nothing, so it must be folded or use running statistics.

    Raises:
      UserError: a convolution works below the picture's resolution, after a stride or a mean over the picture; or
        it is one of flax's own.
    """
    side, total = 16, Fraction(0)

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        module = context.module
        if isinstance(module, Conv):
            if args[0].shape[1] < side:
                name = f"{type(network).__name__}: its {module.name}"
                raise UserError(f"{name} works below the picture's resolution, which tiles cannot give it")
            total += Fraction(module.kernel // 2 * side, args[0].shape[1] * max(module.factor, 1))
        elif isinstance(module, nn.Conv | nn.ConvTranspose):
            raise UserError(f"{type(network).__name__}: its {module.name} is flax's; tiles need a layers.Conv there")
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), train=False))
    return max(math.ceil(total), SKIP)


def apply_within(
    network: nn.Module, variables: Any, lr: Float[Array, "b h w 3"], sizes: Int[Array, "b 2"]
) -> Float[Array, "b H W 3"]:
    """SR of the first (height, width) pixels of each input, as if the rest were not there; beyond, it means nothing.

    So one program serves pictures of every size up to h x w. What a convolution sees beyond a picture is zero, which is
    what it pads with; a skip pads by mirroring, so the input has to go on in that way (np.pad's "symmetric").
    """

    def cut(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if not isinstance(context.module, Conv):
            return call(*args, **kwargs)
        x = args[0]
        height, width = (sizes * (x.shape[1] // lr.shape[1])).T[:, :, None]
        rows, columns = jnp.arange(x.shape[1]) < height, jnp.arange(x.shape[2]) < width
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return call(jnp.where(inside, x, jnp.zeros((), x.dtype)), *args[1:], **kwargs)

    with nn.intercept_methods(cut):
        sr = network.apply(variables, lr, train=False)
    assert isinstance(sr, jax.Array)
    return sr
