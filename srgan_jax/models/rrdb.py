"""The generator of ESRGAN (Wang et al. 2018, section 3.1): residual-in-residual dense blocks, no normalisation."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import Conv, check_choice
from srgan_jax.models.msrresnet import INIT
from srgan_jax.models.srresnet import STAGES

DENSE = 3  # dense blocks in a block
CONVS = 5  # convolutions in a dense block
RESIDUAL = 0.2  # what is added to a block's input is scaled by this

leaky = partial(nn.leaky_relu, negative_slope=0.2)


class DenseBlock(nn.Module):
    """Each convolution sees the input and what all before it made; fields as in RRDBNet."""

    growth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        conv, seen = partial(Conv, kernel=3, dtype=self.dtype, kernel_init=INIT), x
        for i in range(CONVS - 1):
            seen = jnp.concatenate([seen, leaky(conv(self.growth, name=f"conv_{i}")(seen))], axis=-1)
        return x + RESIDUAL * conv(x.shape[-1], name=f"conv_{CONVS - 1}")(seen)


class Block(nn.Module):
    """Dense blocks one after another, and past them all."""

    growth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = x
        for i in range(DENSE):
            y = DenseBlock(self.growth, self.dtype, name=f"dense_{i}")(y)
        return x + RESIDUAL * y


# As in srresnet: for training alone.
TracedOnce = nn.jit(Block)


class RRDBNet(nn.Module):
    """LR image in [0, 1] to SR image in [-1, 1], `scale` times as high and wide.

    scale: as in SRResNet; ESRGAN itself has 4.
    growth: features that each convolution of a dense block adds.
    dtype: what the layers compute in; parameters and the result are float32.
    axis_name: of no use to a network without batch statistics; every generator has it.

    16,697,987 parameters as it stands, which is what the published networks have. Raises ValueError for another scale.
    """

    scale: int = 4
    blocks: int = 23
    features: int = 64
    growth: int = 32
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, tuple(STAGES))
        super().__post_init__()

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"], train: bool) -> Float[Array, "b H W 3"]:
        """`train` changes nothing here."""

        def layer(name: str) -> Conv:
            return Conv(self.features, 3, name=name, dtype=self.dtype)

        block = TracedOnce if train and not self.is_initializing() else Block
        x = first = layer("conv_first")(lr)
        for i in range(self.blocks):
            x = block(self.growth, self.dtype, name=f"block_{i}")(x)
        x = first + layer("conv_after")(x)
        for i, factor in enumerate(STAGES[self.scale]):
            nearest = x.repeat(factor, axis=1).repeat(factor, axis=2)
            x = leaky(layer(f"conv_up_{i}")(nearest))
        x = leaky(layer("conv_hr")(x))
        return Conv(3, 3, factor=1, dtype=self.dtype, name="conv_last")(x).astype(jnp.float32)
