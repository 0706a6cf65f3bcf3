"""LPIPS v0.1 (Zhang et al. 2018): how far apart two pictures look, by the features of a fixed classifier."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from srgan_jax.models.layers import check_choice
from srgan_jax.models.vgg import DEPTHS, WIDTHS


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
    float32 in full precision on any device, so that figures do not depend on it.
    Raises ValueError for an unknown network, batches that differ in shape, or pictures smaller than SMALLEST.
    """

    network: str = "alex"

    def __post_init__(self) -> None:
        check_choice("network", self.network, tuple(TRUNKS))
        super().__post_init__()

    @nn.compact
    def __call__(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        if a.shape != b.shape:
            raise ValueError(f"the batches differ in shape: {a.shape} and {b.shape}")
        smallest = SMALLEST[self.network]
        if min(a.shape[1:3]) < smallest:
            raise ValueError(f"LPIPS of {self.network} needs pictures of {smallest}x{smallest} pixels or more")
        x = jnp.concatenate([a, b]).astype(jnp.float32)
        x = (x - jnp.array([-0.030, -0.088, -0.188])) / jnp.array([0.458, 0.448, 0.450])
        distances: list[jax.Array] = []
        for name, width, kernel, stride, padding, pool, measured in TRUNKS[self.network]:
            if pool:
                x = nn.max_pool(x, (pool, pool), strides=(2, 2))
            x = nn.Conv(width, (kernel, kernel), stride, padding, precision="highest", name=name)(x)
            x = nn.relu(x)
            if measured:
                head = self.param(f"head{len(distances) + 1}", nn.initializers.constant(1 / width), (width,))
                first, second = jnp.split(unit_length(x), 2)
                distances.append(jnp.mean(jnp.sum((first - second) ** 2 * head, axis=-1), axis=(1, 2)))
        return jnp.sum(jnp.stack(distances), axis=0)


def unit_length(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each pixel's features divided by their length; where all are 0 they, and their gradient, stay finite."""
    squares = jnp.sum(x**2, axis=-1, keepdims=True)
    return x / (jnp.sqrt(jnp.where(squares > 0, squares, 1)) + 1e-10)
