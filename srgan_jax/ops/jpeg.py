"""What a picture loses by being saved as JPEG, in-graph: baseline, colour at half the size (4:2:0), as libjpeg does it.

Tables and the rule for their quality are those of ITU-T T.81, annex K, and of libjpeg; its transform is of whole
numbers, and this one is not, so that waves are now and then rounded the other way.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

BLOCK, UNIT = 8, 16  # sides of a block, and of what four blocks of luma and one of each colour difference stand for
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
COLOUR = np.full((BLOCK, BLOCK), 99)
COLOUR[:4, :4] = (17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99)
HALF = (128 << 16) + 32767
# Rows are the cosine transform's waves, of length 1.
WAVES = np.cos(np.pi / BLOCK * np.outer(np.arange(BLOCK), np.arange(BLOCK) + 0.5)) / 2
WAVES[0] /= np.sqrt(2)


def jpeg(
    image: Float[Array, "h w 3"], quality: Int[Array, ""], corner: Int[Array, " 2"] | tuple[int, int] = (0, 0)
) -> Float[Array, "h w 3"]:
    """RGB levels 0..255, whole numbers, after saving at `quality` (1..100) and reading again.

    corner: row and column, 0..15, of the grid of blocks that the picture begins at, as if it were cut from a larger
    one, which goes on beyond the border by its outermost pixels.
    """
    h, w = image.shape[:2]
    corner = jnp.asarray(corner)
    rows, columns = (
        jnp.clip(jnp.arange(-(-(n + UNIT - 1) // UNIT) * UNIT) - first, 0, n - 1)
        for n, first in zip((h, w), corner, strict=True)
    )
    r, g, b = jnp.moveaxis(image[rows][:, columns].astype(jnp.int32), -1, 0)
    # in 65536ths, as libjpeg has them: halves of luma go up, those of colour, of which flat areas have many, down
    y = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
    cb = (-11059 * r - 21709 * g + 32768 * b + HALF) >> 16
    cr = (32768 * r - 27439 * g - 5329 * b + HALF) >> 16
    y, cb, cr = (plane.astype(jnp.float32) for plane in (y, cb, cr))
    y = _quantise(y, LUMA, quality)
    cb, cr = (_enlarge(_quantise(_halve(c), COLOUR, quality)) - 128 for c in (cb, cr))
    out = jnp.stack([y + 1.402 * cr, y - 0.344136286 * cb - 0.714136286 * cr, y + 1.772 * cb], axis=-1)
    return jax.lax.dynamic_slice(_whole(out), (*corner, 0), image.shape)


def _whole(levels: Array) -> Array:
    return jnp.clip(jnp.floor(levels + 0.5), 0, 255)


def _quantise(levels: Float[Array, "h w"], table: object, quality: Int[Array, ""]) -> Float[Array, "h w"]:
    """Each block of 8x8 as the multiples of the table's steps that are nearest to its waves."""
    scale = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    steps = jnp.clip((jnp.asarray(table) * scale + 50) // 100, 1, 255)[:, None, :]
    h, w = levels.shape
    blocks = (levels - 128).reshape(h // BLOCK, BLOCK, w // BLOCK, BLOCK)
    exactly = jax.lax.Precision.HIGHEST  # accelerators would round the factors
    waves = jnp.einsum("ui,aibj,vj->aubv", WAVES, blocks, WAVES, precision=exactly)
    waves = jnp.sign(waves) * jnp.floor(jnp.abs(waves) / steps + 0.5001) * steps  # halves, not quite exact, away from 0
    blocks = jnp.einsum("ui,aubv,vj->aibj", WAVES, waves, WAVES, precision=exactly)
    return _whole(blocks.reshape(h, w) + 128)


def _halve(levels: Float[Array, "h w"]) -> Float[Array, "H W"]:
    """Means over 2x2, of which halves are rounded down and up in turn."""
    h, w = levels.shape
    sums = levels.reshape(h // 2, 2, w // 2, 2).sum((1, 3))
    return jnp.floor((sums + 1 + jnp.arange(w // 2) % 2) / 4)


def _enlarge(levels: Float[Array, "h w"]) -> Float[Array, "H W"]:
    """Twice as high and wide: three quarters of the nearest and one of the next, in both directions."""

    def twice(x: Array) -> Array:  # along the first axis, times 4
        before, after = jnp.concatenate([x[:1], x[:-1]]), jnp.concatenate([x[1:], x[-1:]])
        return jnp.stack([3 * x + before, 3 * x + after], axis=1).reshape(-1, x.shape[1])

    wide = twice(twice(levels).T).T
    return jnp.floor((wide + 8 - jnp.arange(wide.shape[1]) % 2) / 16)
