"""The generator of Ledig et al. 2017 (figure 4), SRResNet, with the variants the field uses."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import DEFAULT_INIT, PRELUS, Conv, PReLU, check_choice, icnr, normalization
from srgan_jax.ops.bicubic import upscale
from srgan_jax.ops.pixel_shuffle import pixel_shuffle

STAGES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # the pixel shuffles that make up each scale
NORMS = ("batch", "none")  # with no others are tiles of a picture what the whole is
OUTPUTS = ("none", "tanh")
SKIPS = ("none", "bicubic")


class ResidualBlock(nn.Module):
    """x + [conv k3, norm, PReLU, conv k3, norm](x); fields as in SRResNet."""

    norm: str
    prelu: str
    dtype: DTypeLike
    axis_name: str | None
    norm_epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        features, norm = x.shape[-1], partial(normalization, self, train=train)
        # Without normalisation the variance would grow with every block: a tenth of the usual spread
        # starts each block near the identity (Wang et al. 2018, ESRGAN, section 3.1).
        gain = 1.0 if self.norm == "batch" else 0.01
        init = nn.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
        conv = partial(Conv, cancelled=train and self.norm == "batch", dtype=self.dtype)
        y = conv(features, 3, name="conv_0")(x)
        y = PReLU(self.prelu, name="prelu")(norm("norm_0")(y))
        y = conv(features, 3, name="conv_1", kernel_init=init)(y)
        return x + norm("norm_1")(y)


# jax traces it once for all blocks of a network. Only for training: initialised by it they would have other weights,
# and what an interceptor of calls, as inference has one, closes over would stay in the trace.
TracedOnce = nn.jit(ResidualBlock, static_argnums=2)


class SRResNet(nn.Module):
    """LR image in [0, 1] to SR image in [-1, 1], `scale` times as high and wide.

    scale: 2, 4 or 8 (one x2 stage each) or 3 (one x3 stage).
    norm: "batch" or "none"; prelu: one slope per layer ("shared") or per channel ("channel").
    output: "tanh" bounds what the network itself adds; the paper's text has "none".
    skip: "bicubic" makes the network predict the residual over bicubic upscaling. The last kernel then
        starts at zero, so the untrained network is bicubic upscaling, with either `output`.
    icnr: start each upsampling stage as nearest-neighbour.
    dtype: what the layers compute in; parameters, batch statistics and the result are float32.
    axis_name: the batch axis under pmap or shard_map (see layers.normalization).

    1,549,462 parameters as it stands, 1,550,659 with prelu="channel". Raises ValueError for other values.
    """

    scale: int = 4
    blocks: int = 16
    features: int = 64
    norm: str = "batch"
    prelu: str = "shared"
    output: str = "none"
    skip: str = "none"
    first_kernel: int = 9
    last_kernel: int = 9
    icnr: bool = True
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, tuple(STAGES))
        check_choice("norm", self.norm, NORMS)
        check_choice("prelu", self.prelu, PRELUS)
        check_choice("output", self.output, OUTPUTS)
        check_choice("skip", self.skip, SKIPS)
        if self.first_kernel % 2 == 0 or self.last_kernel % 2 == 0:
            raise ValueError(f"kernels are {self.first_kernel} and {self.last_kernel}; they must be odd")
        super().__post_init__()

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"], train: bool) -> Float[Array, "b H W 3"]:
        """`train` selects batch statistics (and updates `batch_stats`, if mutable) over the running ones."""
        x = Conv(self.features, self.first_kernel, name="conv_first", dtype=self.dtype)(lr)
        x = first = PReLU(self.prelu, name="prelu_first")(x)

        # Unrolled rather than scanned: XLA:CPU has no fast weight gradient for a convolution in a scan.
        block = TracedOnce if train and not self.is_initializing() else ResidualBlock
        for i in range(self.blocks):
            fields = self.norm, self.prelu, self.dtype, self.axis_name, self.norm_epsilon
            with jax.named_scope(f"block_{i}"):  # in what is traced once all have the first one's name
                x = block(*fields, name=f"block_{i}")(x, train)
        conv = partial(Conv, cancelled=train and self.norm == "batch", dtype=self.dtype)
        x = conv(self.features, 3, name="conv_after")(x)
        x = first + normalization(self, "norm_after", train)(x)

        factor = 1
        for i, following in enumerate(STAGES[self.scale]):
            x = pixel_shuffle(x, factor)
            factor = following
            init = icnr(DEFAULT_INIT, factor) if self.icnr else DEFAULT_INIT
            x = Conv(self.features * factor**2, 3, name=f"conv_up_{i}", dtype=self.dtype, kernel_init=init)(x)
            x = PReLU(self.prelu, factor, name=f"prelu_up_{i}")(x)

        last_init = nn.initializers.zeros if self.skip == "bicubic" else DEFAULT_INIT
        last = Conv(3, self.last_kernel, factor=factor, dtype=self.dtype, kernel_init=last_init, name="conv_last")
        x = last(x)  # with the last pixel shuffle in it
        x = x.astype(jnp.float32)
        if self.output == "tanh":
            x = jnp.tanh(x)
        if self.skip == "bicubic":
            x = x + 2 * upscale(lr.astype(jnp.float32), self.scale) - 1
        return x
