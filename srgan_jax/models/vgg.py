"""phi_{i,j} of Ledig et al. 2017, eq. 5: the VGG network (Simonyan & Zisserman 2014) as a fixed measure."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from srgan_jax.models.layers import check_choice
from srgan_jax.ops.conv import convolve
from srgan_jax.ops.pool import max_pool

WIDTHS = (64, 128, 256, 512, 512)  # channels of each block
DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions in each block
NETWORKS = tuple(DEPTHS)
ORIGINS = ("caffe", "torchvision")


def layer_names(network: str) -> list[str]:
    """["1.1", "1.2", "2.1", ...], all the layers of `network`; ValueError if it is not in NETWORKS."""
    check_choice("network", network, NETWORKS)
    return [f"{i}.{j}" for i, depth in enumerate(DEPTHS[network], 1) for j in range(1, depth + 1)]


def conv_names(network: str, layer: str) -> list[str]:
    """The convolutions that phi needs, ["block1_conv1", ...] up to `layer`, "i.j" as in phi_{i,j}.

    Raises ValueError, naming the valid values, for an unknown network or layer.
    """
    layers = layer_names(network)
    check_choice("layer", layer, layers)
    names = ["block{}_conv{}".format(*name.split(".")) for name in layers]
    return names[: layers.index(layer) + 1]


def kernel_shapes(network: str, layer: str) -> dict[str, tuple[int, int, int, int]]:
    """HWIO kernel shape of each convolution that `conv_names` gives, in order; ValueError as there."""
    shapes: dict[str, tuple[int, int, int, int]] = {}
    channels = 3
    for name in conv_names(network, layer):
        width = WIDTHS[int(name[len("block")]) - 1]
        shapes[name] = (3, 3, channels, width)
        channels = width
    return shapes


def preprocess(images: Float[Array, "b h w 3"], origin: str) -> Float[Array, "b h w 3"]:
    """RGB in [-1, 1] to what weights of that origin were trained on.

    "caffe": BGR in 0-255 less the ImageNet mean. "torchvision": RGB in [0, 1], standardised.
    """
    images = images.astype(jnp.float32)
    if origin == "caffe":
        return (images[..., ::-1] + 1) * 127.5 - jnp.array([103.939, 116.779, 123.68])
    check_choice("origin", origin, ORIGINS)
    return ((images + 1) / 2 - jnp.array([0.485, 0.456, 0.406])) / jnp.array([0.229, 0.224, 0.225])


class FrozenConv(nn.Module):
    """3x3 convolution that passes gradients to its input and none to its parameters."""

    shape: tuple[int, int, int, int]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        kernel = self.param("kernel", nn.initializers.he_normal(), self.shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, self.shape[-1:], jnp.float32)
        kernel, bias = jax.lax.stop_gradient((kernel, bias))
        x = convolve(x.astype(self.dtype), jnp.asarray(kernel, self.dtype))
        return x + bias.astype(self.dtype)


class VGG(nn.Module):
    """Images in [-1, 1] to phi_{i,j}, layer "i.j": the j-th convolution before the i-th max-pool.

    after_relu: True as in the paper; False takes the features before the activation (ESRGAN).
    origin: whose weights, since "caffe" and "torchvision" expect other inputs and differ in size.
    Parameters have Keras' names, block1_conv1/{kernel,bias}, up to the layer asked for and no further.
    Pass them to a jitted function as an argument; closed over they become constants of the executable.
    Raises ValueError for an unknown network, layer or origin, or images that the pools shrink to nothing.
    """

    network: str = "vgg19"
    layer: str = "5.4"
    after_relu: bool = True
    origin: str = "caffe"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        conv_names(self.network, self.layer)
        check_choice("origin", self.origin, ORIGINS)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b H W c"]:
        shapes = kernel_shapes(self.network, self.layer)
        last = list(shapes)[-1]
        smallest = 2 ** (int(self.layer[0]) - 1)
        if min(images.shape[1:3]) < smallest:
            raise ValueError(f"layer {self.layer} needs images of {smallest}x{smallest} pixels or more")
        x = preprocess(images, self.origin)
        for name, shape in shapes.items():
            if name.endswith("_conv1") and name != "block1_conv1":
                x = max_pool(x)
            x = FrozenConv(shape, self.dtype, name=name)(x)
            if name != last or self.after_relu:
                x = nn.relu(x)
        return x.astype(jnp.float32)
