"""From crops to what the networks see, inside jit: jitter, flips and turns, the generator's input, JPEG, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from srgan_jax.ops.bicubic import downscale, imresize, upscale
from srgan_jax.ops.color import edges, luma
from srgan_jax.ops.jpeg import UNIT, jpeg

INPUTS = ("lr", "upscaled", "grey", "edges", "pair")  # of these all but lr are as large as HR


def jitter(images: UInt8[Array, "b s s c"], side: int, position: Int[Array, " b"], key: Key[Array, ""]) -> Array:
    """Each image enlarged to `side` by bicubic and cut to its size again, at a place drawn from (key, position)."""
    size = images.shape[1]

    def cut(image: Array, place: Array) -> Array:
        corner = jax.random.randint(jax.random.fold_in(key, place), (2,), 0, side - size + 1).astype(jnp.float32)
        scale = jnp.full((2,), side / size)
        return jax.image.scale_and_translate(image, image.shape, (0, 1), scale, -corner, "cubic", antialias=False)

    levels = jax.vmap(cut)(images.astype(jnp.float32), position)
    return jnp.clip(jnp.floor(levels + 0.5), 0, 255).astype(jnp.uint8)


def augment(
    images: UInt8[Array, "b s s c"], position: Int[Array, " b"], key: Key[Array, ""], turn: bool = True
) -> Array:
    """One of the 8 flips and quarter turns for each image, drawn from (key, its position in the global batch).

    turn: False leaves the picture upright: it is mirrored left to right or not.
    """
    draw = jax.vmap(lambda place: jax.random.bits(jax.random.fold_in(key, place)))(position)
    ways = (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.swapaxes(1, 2))
    for bit, turned in enumerate(ways):
        if turn or bit == 1:
            chosen = (draw >> bit) & 1 == 1
            images = jnp.where(chosen[:, None, None, None], turned(images), images)
    return images


def prepare(
    crops: UInt8[Array, "b h w c"], *, scale: int, data: ConfigDict
) -> tuple[Float[Array, "b l k 3"], Float[Array, "b h w 3"]]:
    """(the generator's input in [0, 1], rounded to 8 bits as a file would be; HR in [-1, 1]).

    crops: HR, or for data.input "pair" the input's three channels, then HR's.

    data.input: lr, HR shrunken `scale` times by MATLAB bicubic; upscaled, HR shrunken data.shrink times and enlarged
    again; grey, its luma; edges, their strength in its luma, dark on white; pair, given.
    """
    levels = crops.astype(jnp.float32)
    hr = levels[..., -3:]
    if data.input == "pair":
        lr = levels[..., :3]
    elif data.input == "lr":
        lr = downscale(hr, scale, boundary=data.boundary)
    elif data.input == "upscaled":
        small = downscale(hr, data.shrink, boundary=data.boundary)
        lr = upscale(small, data.shrink, boundary=data.boundary, levels=True)
    else:
        grey = luma(hr)[..., None] if data.input == "grey" else edges(luma(hr))[..., None]
        lr = jnp.broadcast_to(jnp.floor(grey + 0.5), hr.shape)
    return lr / 255, hr / 127.5 - 1


def compress(
    lr: Float[Array, "b l k 3"], quality: tuple[int, int], position: Int[Array, " b"], key: Key[Array, ""]
) -> Float[Array, "b l k 3"]:
    """The generator's input in [0, 1], saved as JPEG and read again.

    quality: lowest and highest, from which each picture's is drawn, as is where it begins in the grid of blocks, from
    (key, position).
    """

    def one(image: Array, place: Array) -> Array:
        key_quality, key_corner = jax.random.split(jax.random.fold_in(key, place))
        lowest, highest = quality
        drawn = jax.random.randint(key_quality, (), lowest, highest + 1)
        corner = jax.random.randint(key_corner, (2,), 0, UNIT)
        return jpeg(jnp.floor(image * 255 + 0.5), drawn, corner) / 255

    return jax.vmap(one)(lr, position)


_prepare = jax.jit(prepare, static_argnames=("scale", "data"))


_compress = jax.jit(compress, static_argnames="quality")


def split(
    image: UInt8[np.ndarray, "h w c"], *, scale: int, data: ConfigDict, position: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(input, HR), both uint8, of one whole photograph or pair, which is cut at its right and bottom to what divides.

    Outside jit, as prepare and compress do it inside; the photograph may have any size, in which each is compiled once.
    position: of the photograph among others, by which the quality of data.jpeg is drawn, always the same.
    """
    factor = data.shrink if data.input == "upscaled" else scale
    height, width = (side // factor * factor for side in image.shape[:2])
    image = image[:height, :width]
    if data.input == "lr":
        lr, hr = imresize(image, scale=1 / scale, boundary=data.boundary), image
    else:
        given = _prepare(image[None], scale=scale, data=FrozenConfigDict(data))[0][0]
        lr, hr = np.asarray(given * 255 + 0.5).astype(np.uint8), image[..., -3:]
    if data.get("jpeg"):
        saved = _compress(lr[None] / np.float32(255), tuple(data.jpeg), jnp.array([position]), jax.random.key(0))[0]
        lr = np.asarray(saved * 255 + 0.5).astype(np.uint8)
    return lr, hr
