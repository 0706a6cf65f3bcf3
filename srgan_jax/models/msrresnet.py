"""SRResNet without normalisation over a bilinear enlargement, as BasicSR defines it (MSRResNet)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import Conv, check_choice
from srgan_jax.models.srresnet import STAGES
from srgan_jax.ops.pixel_shuffle import pixel_shuffle

# He initialisation times 0.1 (Wang et al. 2018, ESRGAN, section 3.1): the untrained network is nearly bilinear.
INIT = nn.initializers.variance_scaling(0.02, "fan_in", "truncated_normal")


class MSRResNet(nn.Module):
    """LR image in [0, 1] to SR image in [-1, 1], `scale` times as high and wide.

    scale: as in SRResNet; BasicSR itself has 2, 3 and 4.
    dtype: what the layers compute in; parameters and the result are float32.
    axis_name: of no use to a network without batch statistics; every generator has it.

    1,517,571 parameters as it stands. Raises ValueError for another scale.
    """

    scale: int = 4
    blocks: int = 16
    features: int = 64
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, tuple(STAGES))
        super().__post_init__()

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"], train: bool) -> Float[Array, "b H W 3"]:
        """`train` changes nothing here."""

        def layer(x: jax.Array, width: int, name: str) -> jax.Array:
            return Conv(width, 3, name=name, dtype=self.dtype, kernel_init=INIT)(x)

        def leaky(x: jax.Array) -> jax.Array:
            return nn.leaky_relu(x, 0.1)

        x = leaky(layer(lr, self.features, "conv_first"))
        for i in range(self.blocks):
            inner = nn.relu(layer(x, self.features, f"block_{i}_conv_0"))
            x = x + layer(inner, self.features, f"block_{i}_conv_1")
        for i, factor in enumerate(STAGES[self.scale]):
            x = leaky(pixel_shuffle(layer(x, self.features * factor**2, f"conv_up_{i}"), factor))
        x = leaky(layer(x, self.features, "conv_hr"))
        x = Conv(3, 3, factor=1, dtype=self.dtype, kernel_init=INIT, name="conv_last")(x)

        b, h, w, c = lr.shape
        bilinear = jax.image.resize(lr.astype(jnp.float32), (b, self.scale * h, self.scale * w, c), "bilinear")
        return x.astype(jnp.float32) + 2 * bilinear - 1
