"""Names and shapes of pytorch-CycleGAN-and-pix2pix's generators, netG unet_128, unet_256, resnet_6blocks, _9blocks.

A position in the names is one in an nn.Sequential, so layers without tensors (paddings, activations, dropout) count.
"""

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.weights.tensors import Tensors

LEVELS = range(5, 11)  # there the four outer widths are always made; 1024x1024 is the smallest picture of 10
ENDS = {"unet": ("conv_down_0", "conv_up_0"), "resnet": ("conv_first", "conv_last")}


def unet_layers(generator: ConfigDict) -> list[tuple[str, str]]:
    """(our layer, theirs): each level lies within the one above it, between its way down and its way up."""
    rows = [("conv_down_0", "model.model.0"), ("conv_up_0", "model.model.3")]
    inside = "model.model.1.model"
    for level in range(1, generator.levels):
        parts = {"conv_down": 1, "norm_down": 2, "conv_up": 5, "norm_up": 6}
        if level == generator.levels - 1:
            parts = {"conv_down": 1, "conv_up": 3, "norm_up": 4}
        rows += [(f"{ours}_{level}", f"{inside}.{place}") for ours, place in parts.items()]
        inside += ".3.model"
    return rows


def resnet_layers(generator: ConfigDict) -> list[tuple[str, str]]:
    """(our layer, theirs), in the order of the network."""
    rows = [("conv_first", 1), ("norm_first", 2)]
    rows += [row for i in range(2) for row in ((f"conv_down_{i}", 4 + 3 * i), (f"norm_down_{i}", 5 + 3 * i))]
    after = 10 + generator.blocks
    rows += [row for i in range(2) for row in ((f"conv_up_{i}", after + 3 * i), (f"norm_up_{i}", after + 1 + 3 * i))]
    rows += [("conv_last", after + 7)]
    places = {"conv_0": 1, "norm_0": 2, "conv_1": 5, "norm_1": 6}
    if generator.dropout:
        places |= {"conv_1": 6, "norm_1": 7}
    blocks = [
        (f"block_{i}_{ours}", f"model.{10 + i}.conv_block.{place}")
        for i in range(generator.blocks)
        for ours, place in places.items()
    ]
    return [(ours, f"model.{place}") for ours, place in rows] + blocks


LAYERS = {"unet": unet_layers, "resnet": resnet_layers}


def infer_section(network: str, tensors: Tensors, where: str) -> Mapping[str, Any]:
    """config.generator of a "unet" or "resnet". Raises UserError if no such network has these names and shapes.

    Weights do not tell whether a U-Net was trained with dropout; it is taken to be, as pix2pix is. Ours drops features
    in the three innermost levels, the paper's; theirs from the second innermost to the fifth outermost. With norm
    "batch", their test.py takes the picture's own statistics, not the running ones, and so does the section.
    """
    section: dict[str, Any] = {"name": network, "norm_epsilon": 1e-5}
    if network == "unet":
        nested = (re.fullmatch(r"model\.model\.1\.((?:model\.3\.)*)model\.\d\.\w+", name) for name in tensors)
        section["levels"] = 2 + max((found[1].count("model.3.") for found in nested if found), default=0)
        if section["levels"] not in LEVELS:
            raise UserError(f"{where}: a U-Net of {section['levels']} levels; it takes {LEVELS[0]} to {LEVELS[-1]}")
        section["dropout"] = 0.5
    else:
        found = [re.match(r"model\.(\d+)\.conv_block\.(\d)\.", name) for name in tensors]
        section["blocks"] = len({match[1] for match in found if match})
        section["dropout"] = 0.0 if any(match and match[2] == "5" for match in found) else 0.5
    first, last = (dict(LAYERS[network](ConfigDict(section)))[end] for end in ENDS[network])
    _check_channels(f"{first}.weight", 1, tensors, where)
    # a transposed convolution has its input first
    _check_channels(f"{last}.weight", 1 if network == "unet" else 0, tensors, where)
    section["features"] = tensors[f"{first}.weight"].shape[0]
    if any(name.endswith(".running_mean") for name in tensors):
        return section | {"norm": "batch", "inference_norm": "batch"}
    return section | {"norm": "instance" if f"{first}.bias" in tensors else "none", "inference_norm": "running"}


def _check_channels(name: str, axis: int, tensors: Tensors, where: str) -> None:
    if name not in tensors:
        raise UserError(f"{where}: {name} is missing; fetch the file again")
    shape = tensors[name].shape
    if len(shape) != 4 or min(shape) < 1:
        raise UserError(f"{where}: {name} is {list(shape)}, not a convolution of such a network")
    if shape[axis] != 3:
        has = f"{shape[axis]} channel{'s' if shape[axis] > 1 else ''}"
        raise UserError(f"{where}: {name} is of {has}; only networks from 3 channels to 3 are converted")
