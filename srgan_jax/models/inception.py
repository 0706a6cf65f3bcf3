"""Inception v3 (Szegedy et al. 2016) as FID has it: TensorFlow's network of 2015-12-05, whose pools are its own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

SIDE = 299  # of its pictures, in pixels
WIDTH = 2048  # features of a picture

Layer = tuple[Any, ...]  # name, width, and where they are not 1, rows and columns of the kernel
Pool = Callable[[jax.Array], jax.Array]

mean_pool: Pool = partial(nn.avg_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)
max_pool: Pool = partial(nn.max_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME")
halving_pool: Pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


def network_input(picture: Num[np.ndarray, "h w 3"]) -> Float[np.ndarray, "299 299 3"]:
    """RGB of any size, uint8 or in [0, 1], to the network's float32 in [-1, 1].

    Bilinear between the centres of pixels, however much smaller it gets without a filter against aliasing, as
    pytorch-fid does it and its figures suppose. In numpy, since jax would compile it for each size of picture.
    """
    x = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    for axis in (0, 1):
        size = x.shape[axis]
        places = np.clip((np.arange(SIDE, dtype=np.float32) + 0.5) * (size / SIDE) - 0.5, 0, size - 1)
        before = places.astype(int)
        after = np.minimum(before + 1, size - 1)
        share = np.expand_dims(places - before.astype(np.float32), tuple({0, 1, 2} - {axis}))
        x = x.take(before, axis) * (1 - share) + x.take(after, axis) * share
    return x * 2 - 1


class Inception(nn.Module):
    """Pictures as `network_input` makes them to the 2048 features before the classifier, float32 in full precision.

    Parameters are {kernel, bias} of each convolution, into which the batch normalisation behind it is folded; their
    names are those of torchvision's inception_v3, "Mixed_5b.branch1x1". Averages leave padding out, and the last block
    has a max-pool in place of one: TensorFlow's network has both so, torchvision's has not.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b 299 299 3"]) -> Float[Array, "b 2048"]:
        x = convs(x, "Conv2d_", ("1a_3x3", 32, 3, 3), stride=2)
        x = convs(x, "Conv2d_", ("2a_3x3", 32, 3, 3), padding="VALID")
        x = halving_pool(convs(x, "Conv2d_", ("2b_3x3", 64, 3, 3)))
        x = convs(x, "Conv2d_", ("3b_1x1", 80))
        x = halving_pool(convs(x, "Conv2d_", ("4a_3x3", 192, 3, 3), padding="VALID"))
        for name, width in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = block_a(x, f"Mixed_{name}.", width)
        x = block_b(x, "Mixed_6a.")
        for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = block_c(x, f"Mixed_{name}.", width)
        x = block_d(x, "Mixed_7a.")
        x = block_e(x, "Mixed_7b.", mean_pool)
        x = block_e(x, "Mixed_7c.", max_pool)
        return jnp.mean(x, axis=(1, 2))


def convs(x: jax.Array, block: str, *layers: Layer, stride: int = 1, padding: str = "SAME") -> jax.Array:
    """Convolutions with ReLU, one after another; `stride` and `padding` are the last one's, a stride pads nothing."""
    for layer in layers:
        name, width, *size = layer
        last = layer is layers[-1]
        x = nn.Conv(
            width,
            size or (1, 1),
            stride if last else 1,
            "VALID" if last and stride > 1 else padding,
            precision="highest",
            name=block + name,
        )(x)
        x = nn.relu(x)
    return x


def join(*branches: jax.Array) -> jax.Array:
    return jnp.concatenate(branches, axis=-1)


def block_a(x: jax.Array, block: str, pooled: int) -> jax.Array:
    return join(
        convs(x, block, ("branch1x1", 64)),
        convs(x, block, ("branch5x5_1", 48), ("branch5x5_2", 64, 5, 5)),
        convs(x, block, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)),
        convs(mean_pool(x), block, ("branch_pool", pooled)),
    )


def block_b(x: jax.Array, block: str) -> jax.Array:
    double = ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)
    return join(
        convs(x, block, ("branch3x3", 384, 3, 3), stride=2), convs(x, block, *double, stride=2), halving_pool(x)
    )


def block_c(x: jax.Array, block: str, width: int) -> jax.Array:
    single = ("branch7x7_1", width), ("branch7x7_2", width, 1, 7), ("branch7x7_3", 192, 7, 1)
    double = [(f"branch7x7dbl_{n}", width, *((7, 1) if n % 2 == 0 else (1, 7))) for n in range(2, 5)]
    return join(
        convs(x, block, ("branch1x1", 192)),
        convs(x, block, *single),
        convs(x, block, ("branch7x7dbl_1", width), *double, ("branch7x7dbl_5", 192, 1, 7)),
        convs(mean_pool(x), block, ("branch_pool", 192)),
    )


def block_d(x: jax.Array, block: str) -> jax.Array:
    three = ("branch3x3_1", 192), ("branch3x3_2", 320, 3, 3)
    seven = ("branch7x7x3_1", 192), ("branch7x7x3_2", 192, 1, 7), ("branch7x7x3_3", 192, 7, 1)
    return join(
        convs(x, block, *three, stride=2),
        convs(x, block, *seven, ("branch7x7x3_4", 192, 3, 3), stride=2),
        halving_pool(x),
    )


def block_e(x: jax.Array, block: str, pool: Pool) -> jax.Array:
    three = convs(x, block, ("branch3x3_1", 384))
    double = convs(x, block, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, 3, 3))
    return join(
        convs(x, block, ("branch1x1", 320)),
        convs(three, block, ("branch3x3_2a", 384, 1, 3)),
        convs(three, block, ("branch3x3_2b", 384, 3, 1)),
        convs(double, block, ("branch3x3dbl_3a", 384, 1, 3)),
        convs(double, block, ("branch3x3dbl_3b", 384, 3, 1)),
        convs(pool(x), block, ("branch_pool", 192)),
    )
