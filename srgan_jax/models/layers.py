"""Layers that the networks share: convolution, normalisation, PReLU and the ICNR initialiser."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

NORMS = ("batch", "none")
PRELUS = ("shared", "channel")

Initializer = Callable[..., Any]
Layer = Callable[[jax.Array], jax.Array]

DEFAULT_INIT: Initializer = nn.initializers.lecun_normal()


def check_choice(field: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError naming `field` and its valid values unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{field} is {value!r}; choose one of {', '.join(map(repr, choices))}")


def conv(
    features: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    dtype: DTypeLike = jnp.float32,
    kernel_init: Initializer = DEFAULT_INIT,
) -> nn.Conv:
    """A convolution zero-padded by kernel // 2 on every side; parameters are float32.

    The padding is explicit because SAME pads a stride-2 convolution on the bottom and right only.
    Raises ValueError for an even kernel, which has no centre to pad around.
    """
    if kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}; it must be odd")
    pad = (kernel // 2, kernel // 2)
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding=(pad, pad),
        dtype=dtype,
        kernel_init=kernel_init,
        name=name,
    )


def normalization(
    norm: str,
    *,
    train: bool,
    name: str,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    epsilon: float = 1e-5,
) -> Layer:
    """BatchNorm for norm="batch", the identity for "none"; ValueError otherwise.

    Statistics and parameters are float32 whatever `dtype` is. Momentum 0.9 keeps 9/10 of the running
    statistics at each step (torch calls that 0.1). `axis_name` is for pmap and shard_map only: under
    jit over a mesh the batch axis is already the global one.
    """
    check_choice("norm", norm, NORMS)
    if norm == "none":
        return lambda x: x
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=axis_name,
        name=name,
    )


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0) with a learnt slope, 0.25 at the start (He et al. 2015, eq. 1).

    mode: "shared", one slope for the layer; "channel", one per channel.
    """

    mode: str = "shared"

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        check_choice("prelu", self.mode, PRELUS)
        shape = () if self.mode == "shared" else (x.shape[-1],)
        slope = self.param("slope", nn.initializers.constant(0.25), shape, jnp.float32)
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


def icnr(base: Initializer, factor: int) -> Initializer:
    """Kernel initialiser for the convolution before a pixel shuffle (Aitken et al. 2017).

    The factor**2 output channels that become one pixel's neighbours start equal, so the shuffled output
    starts as nearest-neighbour upscaling, free of checkerboards. They are adjacent channels in torch's
    shuffle order (c, dy, dx), hence `repeat`. Raises ValueError if they do not divide the channels.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, **kwargs: Any) -> jax.Array:
        *window_and_input, out = shape
        if out % factor**2:
            raise ValueError(f"{out} output channels cannot be shuffled by {factor}")
        kernel = base(key, (*window_and_input, out // factor**2), dtype, **kwargs)
        return jnp.repeat(kernel, factor**2, axis=-1)

    return init
