"""From a config to its networks: plain dicts of name to class, and nothing else."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.models.discriminator import Discriminator
from srgan_jax.models.lpips import LPIPS
from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.models.patchgan import PatchGAN
from srgan_jax.models.pix2pix import ResNet, UNet
from srgan_jax.models.rrdb import RRDBNet
from srgan_jax.models.srresnet import SRResNet
from srgan_jax.models.vgg import VGG

GENERATORS: dict[str, type[nn.Module]] = {
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "rrdb": RRDBNet,
    "unet": UNet,
    "resnet": ResNet,
}
TRANSLATORS = ("unet", "resnet")  # of these: image to image, at scale 1
DISCRIMINATORS: dict[str, type[nn.Module] | None] = {"none": None, "srgan": Discriminator, "patchgan": PatchGAN}
DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

T = TypeVar("T")


def build_generator(config: ConfigDict, *, axis_name: str | None = None) -> nn.Module:
    """The network that `config.generator` names, built from the fields that the section shares with it.

    `axis_name` is the batch axis under pmap or shard_map. Raises UserError for an unknown name or dtype,
    ValueError for a value the network does not know.
    """
    network = _choose(GENERATORS, "generator.name", config.generator.name)
    fields = _fields(network, config.generator)
    return network(scale=config.scale, dtype=_dtype(config), axis_name=axis_name, **fields)


def multiple(network: nn.Module) -> int:
    """What the sides of a generator's input must be multiples of."""
    return getattr(network, "multiple", 1)


@cache
def generator_shapes(network: nn.Module) -> Any:
    """Its variables as ShapeDtypeStructs, traced once for equal networks; not to be changed."""
    side = max(8, multiple(network))
    return jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), train=False))


def differences(there: nn.Module, here: nn.Module) -> list[str]:
    """In words, what keeps one generator's weights from serving the other: "generator.blocks: 3 there, 1 here".

    By the networks and not their configs: a run may be older than a field, and a field of no use to its network.
    """
    theirs, ours = (dataclasses.asdict(network) | {"name": type(network).__name__} for network in (there, here))
    free = ("parent", "dtype", "axis_name", "icnr", "dropout", "inference_norm")  # which may differ
    names = [name for name in ours if name not in free and theirs.get(name) != ours[name]]
    return [
        f"{'' if name == 'scale' else 'generator.'}{name}: {theirs.get(name)!r} there, {ours[name]!r} here"
        for name in names
    ]


def build_discriminator(config: ConfigDict, *, axis_name: str | None = None) -> nn.Module | None:
    """The network that `config.discriminator` names, None for "none"; errors as in build_generator."""
    network = _choose(DISCRIMINATORS, "discriminator.name", config.discriminator.name)
    if network is None:
        return None
    fields = _fields(network, config.discriminator)
    return network(dtype=_dtype(config), axis_name=axis_name, **fields)


def build_features(config: ConfigDict) -> dict[str, nn.Module]:
    """The fixed networks of the loss's terms: phi for "feature", LPIPS for "lpips"; none for a weight of zero.

    Errors as in build_generator.
    """
    networks: dict[str, nn.Module] = {}
    feature, lpips = config.loss.feature, config.loss.lpips
    if feature.weight:
        networks["feature"] = VGG(dtype=_dtype(config), **_fields(VGG, feature))
    if lpips.weight:
        networks["lpips"] = LPIPS(lpips.network, dtype=_dtype(config))
    return networks


def _choose(choices: Mapping[str, T], field: str, name: str) -> T:
    if name not in choices:
        raise UserError(f"config.{field}={name!r}: must be one of {', '.join(choices)}")
    return choices[name]


def _dtype(config: ConfigDict) -> DTypeLike:
    return _choose(DTYPES, "dtype", config.dtype)


def _fields(network: type[nn.Module], section: ConfigDict) -> dict[str, Any]:
    """The section's fields that are the network's own; `name`, or D's updates per step, are not."""
    own = {field.name for field in dataclasses.fields(network)} - {"name"}
    return {field: value for field, value in section.items() if field in own}
