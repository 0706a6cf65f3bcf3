"""The discriminator of Ledig et al. 2017 (figure 4)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import NORMS, Conv, check_choice, normalization


def plan(stages: int) -> list[tuple[int, int]]:
    """(multiple of `features`, stride) of each convolution; strides take the place of max-pooling."""
    return [(min(2**i, 8), stride) for i in range(stages) for stride in (1, 2)]


class Discriminator(nn.Module):
    """One logit per image in [-1, 1]: how much it looks like a photograph.

    The paper's final sigmoid is left to the losses, which are stable only on logits. The first
    convolution has no normalisation. The dense layer fixes the image size at initialisation:
    23,565,505 parameters at 96x96. stages: how often the image is halved; the paper's 4 are made for 96x96,
    with 5 the dense layer is as large at 192x192. `norm`, `dtype` and `axis_name` are as in SRResNet;
    WGAN-GP needs norm="none". Raises ValueError for another `norm`.
    """

    features: int = 64
    dense: int = 1024
    stages: int = 4
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool) -> Float[Array, " b"]:
        """`train` selects batch statistics (and updates `batch_stats`, if mutable) over the running ones."""
        x = images
        for i, (multiple, stride) in enumerate(plan(self.stages)):
            cancelled = train and i > 0 and self.norm != "none"
            conv = Conv(multiple * self.features, 3, stride, cancelled=cancelled, name=f"conv_{i}", dtype=self.dtype)
            y = conv(x)
            x = nn.leaky_relu(normalization(self, f"norm_{i}", train)(y) if i else y, 0.2)
        x = x.reshape(x.shape[0], -1)
        x = nn.leaky_relu(nn.Dense(self.dense, dtype=self.dtype, name="dense")(x), 0.2)
        # Float32 costs nothing on one output and spares the loss bfloat16's 8-bit logits.
        return nn.Dense(1, dtype=jnp.float32, name="logit")(x)[:, 0]
