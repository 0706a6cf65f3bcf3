"""pytorch-CycleGAN-and-pix2pix's generators straight from their tensors: what a conversion is checked against.

Written apart from the table of names and from our modules, as generator_reference is: the parts are not found by name
but by their order. Neither drops features; `inference_norm` is as in ours.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from srgan_jax.weights.generator_reference import TORCH, Tensors


def pix2pix_unet(t: Tensors, image: Float[np.ndarray, "b h w 3"], inference_norm: str = "") -> Float[Array, "b h w 3"]:
    """netG unet_128 or unet_256, of any depth."""
    convs = [name for name in t if t[name].ndim == 4]

    def level(name: str, x: Array) -> Array:
        """With all that lies within it, between its first convolution and its last."""
        places = sorted({int(found[1]) for n in t if (found := re.match(rf"{re.escape(name)}\.(\d+)\.", n))})
        down, *_, up = (part for part in (f"{name}.{i}" for i in places) if f"{part}.weight" in convs)
        inner = [f"{name}.{i}.model" for i in places if any(n.startswith(f"{name}.{i}.model.") for n in t)]
        outermost = name == "model.model"
        y = _strided(t, down, x if outermost else jnp.where(x > 0, x, 0.2 * x))
        for part in inner:
            y = level(part, y if outermost else _norm(t, down, y, inference_norm))
        y = _transposed(t, up, jnp.maximum(y, 0))
        return y if outermost else jnp.concatenate([x, _norm(t, up, y, inference_norm)], 1)

    return _as_torch(lambda x: level("model.model", x), image)


def pix2pix_resnet(
    t: Tensors, image: Float[np.ndarray, "b h w 3"], inference_norm: str = ""
) -> Float[Array, "b h w 3"]:
    """netG resnet_6blocks or resnet_9blocks, of any number."""
    convs = [name.removesuffix(".weight") for name in t if t[name].ndim == 4]
    first, *between, last = sorted(convs, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    blocks = between[2:-2]

    def run(x: Array) -> Array:
        x = jnp.maximum(_norm(t, first, _mirrored(t, first, x), inference_norm), 0)
        for name in between[:2]:
            x = jnp.maximum(_norm(t, name, _strided(t, name, x), inference_norm), 0)
        for one, two in zip(blocks[::2], blocks[1::2], strict=True):
            y = jnp.maximum(_norm(t, one, _mirrored(t, one, x), inference_norm), 0)
            x = x + _norm(t, two, _mirrored(t, two, y), inference_norm)
        for name in between[-2:]:
            x = jnp.maximum(_norm(t, name, _transposed(t, name, x), inference_norm), 0)
        return _mirrored(t, last, x)

    return _as_torch(run, image)


def _as_torch(network: Callable[[Array], Array], image: np.ndarray) -> Array:
    x = 2 * jnp.asarray(image.transpose(0, 3, 1, 2)) - 1
    return jnp.tanh(network(x)).transpose(0, 2, 3, 1)


def _conv(t: Tensors, name: str, x: Array, kernel: Array | np.ndarray, pad: tuple[int, int], **steps: Any) -> Array:
    steps = {"window_strides": (1, 1)} | steps
    y = jax.lax.conv_general_dilated(x, jnp.asarray(kernel), padding=[pad, pad], dimension_numbers=TORCH, **steps)
    return y + t[f"{name}.bias"][:, None, None] if f"{name}.bias" in t else y


def _strided(t: Tensors, name: str, x: Array) -> Array:
    return _conv(t, name, x, t[f"{name}.weight"], (1, 1), window_strides=(2, 2))


def _mirrored(t: Tensors, name: str, x: Array) -> Array:
    pad = (t[f"{name}.weight"].shape[-1] // 2,) * 2
    return _conv(t, name, jnp.pad(x, [(0, 0), (0, 0), pad, pad], "reflect"), t[f"{name}.weight"], (0, 0))


def _transposed(t: Tensors, name: str, x: Array) -> Array:
    """The kernel turned by half a turn over x with zeros between its pixels; an odd one needs a row more below."""
    kernel = t[f"{name}.weight"][:, :, ::-1, ::-1].swapaxes(0, 1)
    size = kernel.shape[-1]
    return _conv(t, name, x, kernel, (size - 2, size - 2 + size % 2), lhs_dilation=(2, 2))


def _norm(t: Tensors, conv: str, x: Array, inference_norm: str) -> Array:
    """What comes after a convolution: of the kind that the tensors show."""
    head, _, place = conv.rpartition(".")
    name = f"{head}.{int(place) + 1}"
    if f"{name}.weight" not in t and f"{conv}.bias" not in t:
        return x
    axes = (0, 2, 3) if f"{name}.weight" in t else (2, 3)
    centre, spread = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    if f"{name}.weight" not in t:
        return (x - centre) / jnp.sqrt(spread + 1e-5)
    mean, var, gamma, beta = (
        t[f"{name}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias")
    )
    if inference_norm == "running":
        centre, spread = jnp.asarray(mean), jnp.asarray(var)
    return (x - centre) / jnp.sqrt(spread + 1e-5) * gamma + beta
