"""Generators of Isola et al. 2017 (pix2pix) and Johnson et al. 2016, as pytorch-CycleGAN-and-pix2pix has them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt32

from srgan_jax.models.layers import INFERENCE_NORMS, NORMS, Conv, Layer, check_choice, dropout, normalization

INIT = nn.initializers.normal(0.02)


def gamma(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    return 1 + INIT(key, shape, dtype)


class Translator(nn.Module):
    """Fields of both generators: a picture in [0, 1] to one as large in [-1, 1].

    norm: "batch", "instance" or "none". dropout: share of features dropped where `noise` is given, one seed for each
    image; without it nothing is. inference_norm: of norm "batch" with train=False: "running" statistics, or "batch",
    those of the pictures given at once: with one at a time its own, as in the paper. dtype, axis_name: as in
    SRResNet. Sides must be multiples of `multiple`. Raises ValueError for other values.
    """

    features: int = 64
    norm: str = "batch"
    dropout: float = 0.0
    inference_norm: str = "running"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    norm_epsilon: float = 1e-5
    scale: int = 1

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, (1,))
        check_choice("norm", self.norm, NORMS)
        check_choice("inference_norm", self.inference_norm, INFERENCE_NORMS)
        super().__post_init__()

    def normalized(self, name: str, train: bool) -> Layer:
        return normalization(self, name, train or self.inference_norm == "batch", gamma)

    def signed(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        return (2 * x - 1).astype(self.dtype)


class UNet(Translator):
    """C64-C128-C256-C512-... of 4x4 convolutions with stride 2, and back, with the encoder's outputs beside.

    levels: halvings; 8 for 256x256 (54,419,459 parameters), 7 for 128x128. Dropout is on the first three layers of the
    decoder; neither the first convolution nor the bottleneck is normalised.
    """

    levels: int = 8

    @property
    def multiple(self) -> int:
        return 2**self.levels

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], train: bool, noise: UInt32[Array, " b"] | None = None
    ) -> Float[Array, "b h w 3"]:
        """`train` selects batch statistics (and updates `batch_stats`, if mutable) over the running ones."""
        widths = [self.features * min(2**level, 8) for level in range(self.levels)]
        down = partial(Conv, kernel=4, stride=2, dtype=self.dtype, kernel_init=INIT)
        up = partial(Conv, kernel=4, doubles=True, dtype=self.dtype, kernel_init=INIT)
        cancels = train and self.norm != "none"
        x, beside = self.signed(x), []
        for level, width in enumerate(widths):
            x = nn.leaky_relu(x, 0.2) if level else x
            normalized = 0 < level < self.levels - 1
            x = down(width, cancelled=cancels and normalized, name=f"conv_down_{level}")(x)
            if normalized:
                x = self.normalized(f"norm_down_{level}", train)(x)
            beside.append(x)
        for level in reversed(range(self.levels)):
            x = x if level == self.levels - 1 else jnp.concatenate([beside[level], x], axis=-1)
            width = widths[level - 1] if level else 3
            x = up(width, cancelled=cancels and level > 0, name=f"conv_up_{level}")(nn.relu(x))
            if level:
                x = self.normalized(f"norm_up_{level}", train)(x)
            if level and level > self.levels - 4:
                x = dropout(x, self.dropout, noise, level)
        return jnp.tanh(x.astype(jnp.float32))


class ResNet(Translator):
    """c7-64, two halvings, `blocks` residual blocks (6 or 9), two doublings, c7-3; padded by reflection."""

    blocks: int = 9

    multiple = 4

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], train: bool, noise: UInt32[Array, " b"] | None = None
    ) -> Float[Array, "b h w 3"]:
        """As UNet."""
        cancels = train and self.norm != "none"
        conv = partial(Conv, cancelled=cancels, dtype=self.dtype, kernel_init=INIT)
        up = partial(conv, doubles=True)

        def act(name: str, x: jax.Array) -> jax.Array:
            return nn.relu(self.normalized(name, train)(x))

        width = self.features
        x = act("norm_first", conv(width, 7, reflect=True, name="conv_first")(self.signed(x)))
        for i in range(2):
            width *= 2
            x = act(f"norm_down_{i}", conv(width, 3, stride=2, name=f"conv_down_{i}")(x))
        for i in range(self.blocks):
            y = act(f"block_{i}_norm_0", conv(width, 3, reflect=True, name=f"block_{i}_conv_0")(x))
            y = conv(width, 3, reflect=True, name=f"block_{i}_conv_1")(dropout(y, self.dropout, noise, i))
            x = x + self.normalized(f"block_{i}_norm_1", train)(y)
        for i in range(2):
            width //= 2
            x = act(f"norm_up_{i}", up(width, 3, name=f"conv_up_{i}")(x))
        x = conv(3, 7, reflect=True, cancelled=False, name="conv_last")(x)
        return jnp.tanh(x.astype(jnp.float32))
