"""The discriminators of Isola et al. 2017: each logit judges a patch of the picture."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import NORMS, Conv, check_choice, normalization
from srgan_jax.models.pix2pix import INIT, gamma

PATCHES = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # side in pixels: how many halvings


class PatchGAN(nn.Module):
    """Logits in a map, for images in [-1, 1]; conditional, they come after the generator's input on the channels.

    patch: 70 is C64-C128-C256-C512 of 4x4 convolutions, the last with stride 1 as is the one to the logit, 2,769,601
    parameters on six channels; the others have more or fewer halvings. 1, the PixelGAN, is 1x1 convolutions alone. The
    first layer is not normalised. norm, dtype, axis_name: as in Discriminator. Raises ValueError for other values.
    """

    features: int = 64
    patch: int = 70
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_choice("patch", self.patch, tuple(PATCHES))
        check_choice("norm", self.norm, NORMS)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"], train: bool) -> Float[Array, "b H W"]:
        """`train` selects batch statistics (and updates `batch_stats`, if mutable) over the running ones."""
        halvings = PATCHES[self.patch]
        kernel = 4 if halvings else 1
        strides = [2] * halvings + [1] if halvings else [1, 1]
        x = images
        for i, stride in enumerate(strides):
            width = self.features * min(2**i, 8)
            cancelled = train and i > 0 and self.norm != "none"
            conv = partial(Conv, cancelled=cancelled, dtype=self.dtype, kernel_init=INIT, name=f"conv_{i}")
            y = conv(width, kernel, stride)(x)
            x = nn.leaky_relu(normalization(self, f"norm_{i}", train, gamma)(y) if i else y, 0.2)
        return Conv(1, kernel, dtype=jnp.float32, kernel_init=INIT, name="logit")(x)[..., 0]
