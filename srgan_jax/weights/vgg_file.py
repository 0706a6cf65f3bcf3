"""VGG weights from a file: .npz or .safetensors, arrays named as Keras does, `block1_conv1/kernel` (HWIO)."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from srgan_jax.errors import UserError
from srgan_jax.models.vgg import kernel_shapes, layer_names

FIELD = "config.loss.feature.weights"
# What numpy, zipfile and safetensors raise for files that are damaged or not theirs.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)

Params = dict[str, dict[str, np.ndarray]]


class Contents(NamedTuple):
    """Of a weights file: all its names, what it states about itself, and the arrays that were wanted."""

    names: set[str]
    stated: Mapping[str, str]
    arrays: Mapping[str, np.ndarray]


def load_vgg(path: str | os.PathLike[str], *, network: str, layer: str, origin: str) -> Params:
    """Parameters of models.vgg.VGG up to `layer`: {"block1_conv1": {"kernel", "bias"}, ...}, float32.

    A .safetensors file may state "network" and "origin" in its metadata, and must then agree; an .npz
    states nothing, so its origin is taken on trust. Raises UserError for a file that is missing, damaged,
    of another network or origin, or without a layer that phi needs; ValueError for an unknown network
    or layer.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for conv, shape in kernel_shapes(network, layer).items():
        shapes |= {f"{conv}/kernel": shape, f"{conv}/bias": shape[-1:]}

    if not os.fspath(path):
        raise UserError(
            f"{FIELD} is empty: give an .npz or .safetensors file that holds {network} (README, VGG weights, says how)"
        )
    path = Path(path).expanduser()
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise UserError(f"{FIELD}: {path} is neither .npz nor .safetensors: give a file of either format")
    if not path.is_file():
        raise UserError(f"{FIELD}: there is no file {path} (README, VGG weights, says how to get one)")
    try:
        contents = readers[path.suffix](path, shapes)
    except UNREADABLE as error:
        reason = type(error).__name__
        raise UserError(f"{FIELD}: {path} cannot be read as {path.suffix} ({reason}): fetch it again") from error

    _check_network(path, contents, network=network, layer=layer, origin=origin)
    params: Params = {}
    for name, expected in shapes.items():
        array = contents.arrays[name]
        if array.shape != expected or not np.issubdtype(array.dtype, np.floating):
            found = f"{array.dtype}{list(array.shape)}"
            raise UserError(
                f"{FIELD}: {name} in {path} is {found}, {network} has float{list(expected)}: "
                "give weights with kernels in HWIO order"
            )
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError(f"{FIELD}: {name} in {path} holds NaN or infinity: fetch the file again")
        conv, kind = name.split("/")
        params.setdefault(conv, {})[kind] = array
    return params


def random_vgg(network: str, layer: str, seed: int) -> Params:
    """He-initialised parameters of the shapes that load_vgg returns, for benchmarks and tests."""
    rng = np.random.default_rng(seed)
    params: Params = {}
    for conv, shape in kernel_shapes(network, layer).items():
        spread = np.float32(np.sqrt(2 / np.prod(shape[:3])))
        kernel = spread * rng.standard_normal(shape, dtype=np.float32)
        params[conv] = {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}
    return params


def digest(params: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """sha256 (hex) of the arrays in the order of their names, names and shapes included."""
    sha = hashlib.sha256()
    for conv in sorted(params):
        for kind in sorted(params[conv]):
            array = np.ascontiguousarray(params[conv][kind], dtype="<f4")
            sha.update(f"{conv}/{kind} {array.shape} ".encode())
            sha.update(array.tobytes())
    return sha.hexdigest()


def _read_npz(path: Path, wanted: Collection[str]) -> Contents:
    # Opened here because numpy, given the path, leaves a damaged file open.
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        return Contents(set(file.files), {}, {name: file[name] for name in wanted if name in file.files})


def _read_safetensors(path: Path, wanted: Collection[str]) -> Contents:
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        arrays = {name: file.get_tensor(name) for name in wanted if name in names}
        return Contents(names, file.metadata() or {}, arrays)


def _check_network(path: Path, contents: Contents, *, network: str, layer: str, origin: str) -> None:
    """Raise UserError unless the file is of that network and origin and reaches the layer."""
    for field, asked in (("network", network), ("origin", origin)):
        stated = contents.stated.get(field, asked)
        if stated != asked:
            raise UserError(
                f"{FIELD}: {path} states {field} {stated!r}: set config.loss.feature.{field} to it, not {asked!r}"
            )
    if network == "vgg16" and "block3_conv4/kernel" in contents.names:
        raise UserError(f"{FIELD}: {path} holds vgg19: set config.loss.feature.network to it, not 'vgg16'")

    last = None
    for name in layer_names(network):
        conv = "block{}_conv{}".format(*name.split("."))
        if not {f"{conv}/kernel", f"{conv}/bias"} <= contents.names:
            break
        last = name
        if name == layer:
            return
    if last is None:
        raise UserError(f"{FIELD}: {path} has no block1_conv1/kernel and bias: give a file with Keras' names")
    raise UserError(
        f"{FIELD}: {path} holds {network} only up to layer {last}: "
        f"set config.loss.feature.layer to {last} or lower, not {layer}, or give the whole network"
    )
