"""Luma and value ranges. Levels are 0..255 (or 65535), unit is [0, 1], signed is [-1, 1]."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num, UInt


def rgb_to_y(rgb: Num[np.ndarray, "*n 3"], *, studio: bool = True) -> Float[np.ndarray, "*n"]:
    """Y of BT.601 in studio range, 16..235, from levels, or else in full range, 0..255; float64, not rounded.

    The field reports PSNR in the first, about 1.3 dB above the second.
    """
    y = 16.0 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255.0
    return y if studio else (y - 16.0) * (255.0 / 219.0)


def luma(rgb: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """BT.601's weighted mean in full range, that of JPEG and of grey pictures: of levels, 0..255.

    Summed in thousandths, which are whole: no platform's matrix product rounds them, and halves are halves everywhere.
    """
    return jnp.sum(rgb * jnp.array([299.0, 587.0, 114.0]), axis=-1) / 1000


def edges(grey: Float[Array, "*b h w"]) -> Float[Array, "*b h w"]:
    """From levels to levels: white less half of Sobel's gradient, so that a hard edge is black."""
    x = jnp.pad(grey, [(0, 0)] * (grey.ndim - 2) + [(1, 1)] * 2, mode="symmetric")
    rows = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]  # smoothed along the other axis
    columns = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    across, down = rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]
    return 255 - jnp.minimum(jnp.sqrt(across**2 + down**2) / 2, 255)


def signed_to_levels(x: Float[Array, "*n"], dtype: DTypeLike = jnp.uint8) -> UInt[Array, "*n"]:
    """[-1, 1] to levels of 8 or 16 bits, rounded; what lies outside is clipped."""
    top = jnp.iinfo(dtype).max
    return jnp.clip(jnp.floor((x + 1) * (top / 2) + 0.5), 0, top).astype(dtype)


def colour_drift(sr: Float[Array, "b h w 3"], hr: Float[Array, "b h w 3"], side: int = 16) -> Float[Array, ""]:
    """Mean |difference|, in levels, of two batches in [-1, 1] after both are shrunk to means over side x side blocks.

    Detail cancels in a block: what is left is a shift in colour or brightness. Rows and columns beyond the last whole
    block are left out; images smaller than a block are one block.
    """
    height, width = (min(side, n) for n in sr.shape[1:3])
    rows, columns = sr.shape[1] // height, sr.shape[2] // width
    blocks = (sr - hr)[:, : rows * height, : columns * width].reshape(-1, rows, height, columns, width, 3)
    return 127.5 * jnp.mean(jnp.abs(jnp.mean(blocks, axis=(2, 4))))
