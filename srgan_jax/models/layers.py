"""Layers that the networks share: convolution, normalisation, PReLU and the ICNR initialiser."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt32

from srgan_jax.ops.channels import channel_sums, scale_shift
from srgan_jax.ops.conv import convolve, shuffled_conv, transposed

NORMS = ("batch", "instance", "none")
INFERENCE_NORMS = ("running", "batch")
PRELUS = ("shared", "channel")
MOVES = 0.1  # that running statistics go at each step from what they are to the batch's (torch calls it momentum)

Initializer = Callable[..., Any]
Layer = Callable[[jax.Array], jax.Array]

DEFAULT_INIT: Initializer = nn.initializers.lecun_normal()


def check_choice(field: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError naming `field` and its valid values unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{field} is {value!r}; choose one of {', '.join(map(repr, choices))}")


class Conv(nn.Module):
    """A convolution zero-padded by (kernel - 1) // 2 on every side; parameters, those of nn.Conv, are float32.

    factor: a pixel shuffle in torch's order comes before it, for an odd kernel; then, and for few features, faster on
    CPUs. reflect: padded by mirroring at the border's pixels instead, without a stride. cancelled: a norm comes next
    that subtracts the mean of all that the bias is added to; it then changes nothing, and its gradient, 0 but for
    rounding, is not computed. doubles: ops.conv.transposed, twice as high and wide; the kernel is that of the
    convolution it turns round.
    The padding is explicit because SAME pads a stride-2 convolution on the bottom and right only.
    """

    features: int
    kernel: int
    stride: int = 1
    factor: int = 0
    reflect: bool = False
    cancelled: bool = False
    doubles: bool = False
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = DEFAULT_INIT

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b H W d"]:
        channels = x.shape[-1] // max(self.factor, 1) ** 2, self.features
        shape = (self.kernel, self.kernel, *(channels[::-1] if self.doubles else channels))
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = jnp.asarray(self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32))
        bias = jax.lax.stop_gradient(bias) if self.cancelled else bias
        x, kernel = jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype)
        if self.doubles:
            y = transposed(x, kernel, 2)
        else:
            y = shuffled_conv(x, kernel, self.factor) if self.factor else convolve(x, kernel, self.stride, self.reflect)
        return scale_shift(y, jnp.ones_like(bias), bias).astype(self.dtype)


def normalization(network: Any, name: str, train: bool, scale_init: Initializer = nn.initializers.ones) -> Layer:
    """BatchNorm where the network's norm is "batch", InstanceNorm for "instance", the identity for "none".

    With its norm_epsilon, dtype and axis_name. Statistics and parameters are float32 whatever `dtype` is. `axis_name`
    is for pmap and shard_map only: under jit over a mesh the batch axis is already the global one.
    """
    if network.norm == "none":
        return lambda x: x
    if network.norm == "instance":
        return InstanceNorm(network.norm_epsilon, network.dtype, name=name)
    norm = BatchNorm(network.norm_epsilon, network.dtype, network.axis_name, scale_init, name=name)
    return partial(norm, train=train)


class BatchNorm(nn.Module):
    """Ioffe & Szegedy 2015, algorithm 1; see normalization. Variables are those of nn.BatchNorm."""

    epsilon: float
    dtype: DTypeLike
    axis_name: str | None
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        # Restored variables may be numpy's.
        scale, bias, mean, var = map(jnp.asarray, (scale, bias, running_mean.value, running_var.value))
        if train:
            full = x.astype(jnp.float32)
            moments = jnp.stack(channel_sums(full, full**2)) / (x.size // x.shape[-1])
            if self.axis_name and not self.is_initializing():
                moments = jax.lax.pmean(moments, self.axis_name)
            mean, var = moments[0], jnp.maximum(moments[1] - moments[0] ** 2, 0)  # rounding may take it below 0
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                running_mean.value += MOVES * (mean - running_mean.value)
                running_var.value += MOVES * (var - running_var.value)
        return scale_shift(x, scale * jax.lax.rsqrt(var + self.epsilon), bias, mean).astype(self.dtype)


class InstanceNorm(nn.Module):
    """Each image's channels by their own mean and variance (Ulyanov et al. 2016); no parameters, as in torch."""

    epsilon: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        full = x.astype(jnp.float32)
        centred = full - jnp.mean(full, axis=(1, 2), keepdims=True)
        var = jnp.mean(centred**2, axis=(1, 2), keepdims=True)
        return (centred * jax.lax.rsqrt(var + self.epsilon)).astype(self.dtype)


def dropout(x: Float[Array, "b h w c"], rate: float, seeds: UInt32[Array, " b"] | None, layer: int) -> Array:
    """Each image's features dropped, by its own seed and the layer's number; seeds None: none are.

    So what is dropped depends on neither the batch around an image nor on how that is divided over devices.
    """
    if seeds is None or not rate:
        return x

    def kept(seed: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(jax.random.key(seed), layer), 1 - rate, x.shape[1:])

    return jnp.where(jax.vmap(kept)(seeds), x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0) with a learnt slope, 0.25 at the start (He et al. 2015, eq. 1).

    mode: "shared", one slope for the layer; "channel", one per channel.
    factor: of the pixel shuffle (torch's order) that comes after; channels that become one share a slope.
    """

    mode: str = "shared"
    factor: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        check_choice("prelu", self.mode, PRELUS)
        channels = x.shape[-1]
        shape = () if self.mode == "shared" else (channels // self.factor**2,)
        slope = self.param("slope", nn.initializers.constant(0.25), shape, jnp.float32)
        slopes = jnp.broadcast_to(jnp.repeat(slope, channels // slope.size), (channels,))
        return jnp.where(x >= 0, x, scale_shift(x, slopes, jnp.zeros_like(slopes)).astype(x.dtype))


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
