"""Arithmetic of the networks, counted by hand: multiplications and additions of convolutions and dense layers."""

import time

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from srgan_jax.models.discriminator import plan
from srgan_jax.models.lpips import TRUNKS
from srgan_jax.models.vgg import kernel_shapes


def conv_flops(pixels: int, kernel: int, inputs: int, outputs: int) -> int:
    """Of one image; `pixels` of the output."""
    return 2 * pixels * kernel**2 * inputs * outputs


def generator_flops(config: ConfigDict, pixels: int) -> int:
    """SRResNet x4, forward, for one LR image of so many pixels."""
    g = config.generator
    width = g.features
    first = conv_flops(pixels, g.first_kernel, 3, width)
    blocks = (2 * g.blocks + 1) * conv_flops(pixels, 3, width, width)
    up = conv_flops(pixels, 3, width, 4 * width) + conv_flops(4 * pixels, 3, width, 4 * width)
    return first + blocks + up + conv_flops(16 * pixels, g.last_kernel, width, 3)


def discriminator_flops(config: ConfigDict) -> int:
    """Forward, for one crop."""
    side, width, total = config.data.crop, 3, 0
    for multiple, stride in plan(config.discriminator.stages):
        side, outputs = -(-side // stride), multiple * config.discriminator.features
        total += conv_flops(side**2, 3, width, outputs)
        width = outputs
    return total + 2 * side**2 * width * config.discriminator.dense + 2 * config.discriminator.dense


def vgg_flops(config: ConfigDict) -> int:
    """Forward, for one crop."""
    shapes = kernel_shapes(config.loss.feature.network, config.loss.feature.layer)
    return sum(
        conv_flops((config.data.crop // 2 ** (int(name[5]) - 1)) ** 2, *shape[1:]) for name, shape in shapes.items()
    )


def lpips_flops(config: ConfigDict) -> int:
    """Forward, for one crop; the convolutions that features come from."""
    side, width, total = config.data.crop, 3, 0
    for layer in TRUNKS[config.loss.lpips.network]:
        if layer.pool:
            side = (side - layer.pool) // 2 + 1
        side = (side + 2 * layer.padding - layer.kernel) // layer.stride + 1
        total += conv_flops(side**2, layer.kernel, width, layer.width)
        width = layer.width
    return total


def update_flops(config: ConfigDict) -> int:
    """Of one crop in an update. A backward pass costs a forward one for the inputs, and one for the weights.

    G: 3 forward passes' worth. D: 3 on the real and 3 on the generated image for itself, 2 for the generator; and on
    the real image 1 where the generator's loss is relativistic, 2 where BatchNorm has both in one pass, and so a
    gradient through both. VGG and LPIPS, whose weights are fixed: 1 on the real image, 2 on the generated one. Not
    counted: further updates of D, wgan-gp's penalty, and G's second forward pass where parallel.accumulate > 1.
    """
    total, d = 3 * generator_flops(config, (config.data.crop // config.scale) ** 2), config.discriminator
    if d.name != "none":
        both = d.one_pass and d.norm == "batch"
        passes = 10 if both else 9 if config.loss.adversarial.kind == "relativistic" else 8
        total += passes * discriminator_flops(config)
    if config.loss.feature.weight:
        total += 3 * vgg_flops(config)
    if config.loss.lpips.weight:
        total += 3 * lpips_flops(config)
    return total


def peak_flops(side: int = 8192, times: int = 20) -> float:
    """FLOP/s of bfloat16 matrix products on this device: the best of five runs of `times` products in one program."""
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16) / side**0.5  # equal numbers may be faster

    @jax.jit
    def chain(a: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, times, lambda _, y: y @ a, a)

    chain(a).block_until_ready()
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        chain(a).block_until_ready()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * side**3 * times / fastest
