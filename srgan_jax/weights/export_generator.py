"""Our generators as files that the programs of other projects load; the inverse of convert_generator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.weights.generator_layouts import LAYOUTS, Layout, tensor_names, to_theirs
from srgan_jax.weights.readers import flatten
from srgan_jax.weights.tensors import Tensors, write_keras_h5, write_safetensors, write_torch

WRAPPERS = {"lornatang": "state_dict", "basicsr": "params", "esrgan": "params"}  # what their loaders look for in a .pth
SCALES = {"krasserm": (4,), "lornatang": (2, 4, 8), "basicsr": (2, 3, 4), "esrgan": (4,)}


def export_generator(variables: Mapping[str, Any], config: ConfigDict, layout: str, output: Path) -> None:
    """Writes a generator for another project: "krasserm" (.h5), "lornatang", "basicsr" or "esrgan" (.pth or
    .safetensors).

    `variables` are {"params", "batch_stats"}, `config` has at least scale and generator, as load_generator gives both.
    The function stays the same: a convolution's bias that has no place there goes into the next layer's mean, another
    epsilon of the normalisation into its scale, another range of output into the last convolution.

    Raises:
      UserError: an unknown layout or ending, or a network that the layout cannot express.
    """
    if layout not in SCALES:
        raise UserError(f"{layout!r} is no layout to export to; choose one of {', '.join(SCALES)}")
    endings = (".h5",) if layout == "krasserm" else (".pth", ".safetensors")
    if output.suffix not in endings:
        raise UserError(f"{output}: {layout} is written as {' or '.join(endings)}; give such a name")
    target = LAYOUTS[layout]
    _refuse_what_differs(layout, target, config)
    flat = {name: np.asarray(array, np.float32) for name, array in flatten(variables)}
    if config.generator.name == "srresnet":
        # a run may be older than the field
        flat = _fit_norms(flat, target, config.generator.get("norm_epsilon", 1e-5))
    if target.keras and config.generator.prelu == "shared":
        width = config.generator.features
        flat = {name: np.full(width, array) if name.endswith("/slope") else array for name, array in flat.items()}
    names = tensor_names(target, config)
    tensors = {their: to_theirs(target, our, flat[our], config.scale) for our, their in names.items() if our in flat}
    if layout == "krasserm":
        write_keras_h5(output, _keras_layers(tensors, config.generator.blocks))
    elif output.suffix == ".pth":
        write_torch(output, WRAPPERS[layout], tensors)
    else:
        write_safetensors(output, tensors, {"format": "pt"})


def _refuse_what_differs(name: str, layout: Layout, config: ConfigDict) -> None:
    g = config.generator
    wanted: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "scale": (config.scale, SCALES[name]),
        "generator.name": (g.name, (layout.network,)),
    }
    if layout.network == "srresnet":
        wanted |= {
            "generator.norm": (g.norm, ("batch",)),
            "generator.output": (g.output, (layout.output,)),
            "generator.skip": (g.skip, ("none",)),
            "generator.first_kernel": (g.first_kernel, (9,)),
            "generator.last_kernel": (g.last_kernel, (9,)),
            "generator.prelu": (g.prelu, ("shared", "channel") if layout.keras else ("shared",)),
        }
    for field, (value, choices) in wanted.items():
        if value not in choices:
            has = " or ".join(map(repr, choices))
            raise UserError(f"config.{field}={value!r}: {name} has only {has}, so it cannot hold this network")


def _fit_norms(flat: Tensors, layout: Layout, epsilon: float) -> Tensors:
    """Scales for the layout's epsilon; in torch, where the convolutions before them have no bias, means less it."""
    fitted = dict(flat)
    for name in flat:
        head, _, last = name.rpartition("/")
        if last != "var":
            continue
        norm = head.removeprefix("batch_stats/")
        ratio = np.sqrt((flat[name].astype(np.float64) + layout.norm_epsilon) / (flat[name] + np.float64(epsilon)))
        fitted[f"params/{norm}/scale"] = (flat[f"params/{norm}/scale"] * ratio).astype(np.float32)
        if not layout.keras:
            bias = f"params/{norm.replace('norm', 'conv')}/bias"
            fitted[f"{head}/mean"] = flat[f"{head}/mean"] - fitted.pop(bias)
    return fitted


def _keras_layers(tensors: Tensors, blocks: int) -> dict[str, dict[str, np.ndarray]]:
    """The model's layers in the order they were made in, with their weights; inputs, sums and lambdas have none."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    weights: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        layer, part = name.split("/")
        weights.setdefault(layer, {})[f"{part}:0"] = array
    residual = ["conv2d", "batch_normalization_v1", "p_re_lu", "conv2d", "batch_normalization_v1", "add"]
    order = ["input_1", "lambda", "conv2d", "p_re_lu", *residual * blocks, "conv2d", "batch_normalization_v1", "add"]
    order += ["conv2d", "lambda", "p_re_lu"] * 2 + ["conv2d", "lambda"]
    for index, kind in enumerate(order):
        before = order[:index].count(kind)
        layer = f"{kind}_{before}" if before else kind
        layers[layer] = weights.get(layer, {})
    return layers
