"""LPIPS v0.1 (Zhang et al. 2018): how far apart two pictures look, by the features of a fixed classifier."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import check_choice
from srgan_jax.models.vgg import DEPTHS, WIDTHS, FrozenConv
from srgan_jax.ops.pool import max_pool


class Layer(NamedTuple):
    """A convolution with ReLU, max-pooled with stride 2 before it by a window of `pool` pixels (0 = not)."""

    name: str
    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0
    measured: bool = True  # whether its output is one of the five that are compared


TRUNKS = {
    "alex": (
        Layer("conv1", 64, kernel=11, stride=4, padding=2),
        Layer("conv2", 192, kernel=5, padding=2, pool=3),
        Layer("conv3", 384, pool=3),
        Layer("conv4", 256),
        Layer("conv5", 256),
    ),
    "vgg": tuple(
        Layer(f"block{i}_conv{j}", width, pool=2 if i > 1 and j == 1 else 0, measured=j == depth)
        for i, (width, depth) in enumerate(zip(WIDTHS, DEPTHS["vgg16"], strict=True), 1)
        for j in range(1, depth + 1)
    ),
}
SMALLEST = {"alex": 31, "vgg": 16}  # shortest side, in pixels, that the pools leave something of


class LPIPS(nn.Module):
    """Two batches of RGB pictures in [-1, 1] to their distances, 0 but for rounding if equal; the paper's eq. 1.

    network: "alex", torchvision's AlexNet, or "vgg", its VGG16. Parameters are {kernel, bias} of each convolution and
    head1 to head5, the non-negative weights of the channels. Constants are those of PyPI's lpips 0.1.4.
    dtype: of the convolutions, for a loss; None is float32 in full precision on any device, so that figures do not
    depend on it. A batch that needs no gradient costs none.
    Raises ValueError for an unknown network, batches that differ in shape, or pictures smaller than SMALLEST.
    """

    network: str = "alex"
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_choice("network", self.network, tuple(TRUNKS))
        super().__post_init__()

    def __call__(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        if a.shape != b.shape:
            raise ValueError(f"the batches differ in shape: {a.shape} and {b.shape}")
        smallest = SMALLEST[self.network]
        if min(a.shape[1:3]) < smallest:
            raise ValueError(f"LPIPS of {self.network} needs pictures of {smallest}x{smallest} pixels or more")
        distances = [
            jnp.mean(jnp.sum((first - second) ** 2 * head, axis=-1), axis=(1, 2))
            for (first, head), (second, _) in zip(self.features(a), self.features(b), strict=True)
        ]
        return jnp.sum(jnp.stack(distances), axis=0)

    @nn.compact
    def features(self, images: Float[Array, "b h w 3"]) -> list[tuple[Float[Array, "b H W c"], Float[Array, " c"]]]:
        """What is compared, of each measured layer, with the weights of its channels; float32."""
        x = (images.astype(jnp.float32) - jnp.array([-0.030, -0.088, -0.188])) / jnp.array([0.458, 0.448, 0.450])
        compared: list[tuple[jax.Array, jax.Array]] = []
        channels = 3
        for name, width, kernel, stride, padding, pool, measured in TRUNKS[self.network]:
            if pool:
                x = max_pool(x) if pool == 2 else nn.max_pool(x, (pool, pool), strides=(2, 2))
            if self.dtype is not None and kernel == 3:
                x = FrozenConv((3, 3, channels, width), self.dtype, name=name)(x)
            else:
                precision = "highest" if self.dtype is None else None
                size = (kernel, kernel)
                x = nn.Conv(width, size, stride, padding, dtype=self.dtype, precision=precision, name=name)(x)
            x, channels = nn.relu(x), width
            if measured:
                head = self.param(f"head{len(compared) + 1}", nn.initializers.constant(1 / width), (width,))
                compared.append((unit_length(x.astype(jnp.float32)), head))
        return compared


def unit_length(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each pixel's features divided by their length; where all are 0 they, and their gradient, stay finite."""
    squares = jnp.sum(x**2, axis=-1, keepdims=True)
    return x / (jnp.sqrt(jnp.where(squares > 0, squares, 1)) + 1e-10)
