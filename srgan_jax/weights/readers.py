"""The file formats that weights come in, each read into {name: array}. Nothing that a file holds is run."""

import pickle
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

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
# A pickle names an object once and refers to it often: a few bytes unfold to more than any machine holds.
DEPTH = 20
NODES = 100_000
LARGEST = 1 << 30  # bytes of all arrays, which a compressed file may state without holding them; VGG19 has 0.6e9
CODE = "it holds code or objects, not tensors alone"


class Refused(Exception):
    """What is wrong with a file that may well be as it was made, and what to give instead of fetching it again."""

    def __init__(self, reason: str, advice: str = "give its state_dict as .safetensors"):
        super().__init__(reason)
        self.advice = advice


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """("a/b", leaf) for whatever nested mappings hold. Raises ValueError past DEPTH levels or NODES names."""
    waiting, visited = [("", tree, 0)], 0
    while waiting:
        path, node, depth = waiting.pop()
        visited += 1
        if depth > DEPTH or visited > NODES:
            raise ValueError(f"nested more than {DEPTH} deep, or more than {NODES} names")
        if not isinstance(node, Mapping):
            yield path, node
            continue
        for name in reversed(list(node)):
            if not isinstance(name, str | int):
                raise ValueError(f"{path or 'the file'} has a name that is no text")
            waiting.append((f"{path}/{name}" if path else str(name), node[name], depth + 1))


def flatten(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    """("a/b", array) for every leaf of nested mappings. ValueError as in `leaves`, or for other kinds of leaves."""
    for name, leaf in leaves(tree):
        array = None if isinstance(leaf, list | tuple) else np.asarray(leaf)
        if array is None or array.dtype.kind not in "fiub":
            raise ValueError(f"{name or 'the file'} holds no array of numbers")
        yield name, array


class ArraysOnly(pickle.Unpickler):
    """Unpickles containers, numbers, strings and numpy arrays; a request for any other object ends it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise Refused(f"{CODE}: the pickle asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_pickle(path: Path) -> Any:
    if zipfile.is_zipfile(path):  # torch's, as Lightning names them
        return _read_torch(path)
    with path.open("rb") as file:
        tree = ArraysOnly(file).load()
    held = path.stat().st_size
    for name, leaf in leaves(tree):
        if isinstance(leaf, np.ndarray) and leaf.nbytes > held:  # of memory as it was found
            raise ValueError(f"{name or 'the file'} is {list(leaf.shape)}, more than the file holds of it")
    return tree


def refuse_larger(size: int) -> None:
    """Raises ValueError above LARGEST bytes."""
    if size > LARGEST:
        raise ValueError(f"it states {size} bytes, more than any weights known here")


def _read_npz(path: Path) -> Any:
    # Opened here because numpy, given the path, leaves a damaged file open.
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):  # of which numpy says how to load it unsafely
            stream.seek(0)
            raise ValueError("a single array" if stream.read(6) == b"\x93NUMPY" else "no zip archive, or cut short")
        stream.seek(0)
        file = np.load(stream, allow_pickle=False)
        try:
            refuse_larger(sum(entry.file_size for entry in file.zip.infolist()))
            return {name: file[name] for name in file.files}
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise Refused(CODE, "give arrays of numbers alone") from error
            raise


def _read_safetensors(path: Path) -> Any:
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    # numpy by itself knows no bfloat16, and its functions for numbers do not take it
    return {
        name: array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array for name, array in arrays.items()
    }


def _read_h5(path: Path) -> Any:
    import h5py

    arrays: dict[str, np.ndarray] = {}
    size = 0
    with h5py.File(path, "r") as file:

        def keep(name: str, node: Any) -> None:
            nonlocal size
            if not isinstance(node, h5py.Dataset):
                return
            if node.external or node.is_virtual:  # whatever lies there would go into what is written
                raise Refused(f"{name} takes its numbers from other files", "give a file that holds them itself")
            size += node.nbytes
            refuse_larger(size)
            arrays[name] = node[()]

        file.visititems(keep)
    return arrays


def _read_torch(path: Path) -> Any:
    import torch

    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith((b"<", b"version https://git-lfs")):
        raise ValueError("a web page, or git-lfs' pointer to a file")
    try:
        with warnings.catch_warnings(action="ignore"):  # of foreign pickles, which are then refused
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if re.search(r"weights.only", str(error), re.IGNORECASE):  # torch goes on to say how to load it unsafely
            raise Refused(f"{CODE}, or is damaged") from error
        raise
    # Tensors alone: beside them a checkpoint of a training holds counters and the optimiser's settings.
    return {name: _to_numpy(name, leaf) for name, leaf in leaves(tree) if isinstance(leaf, torch.Tensor)}


def _to_numpy(name: str, tensor: Any) -> np.ndarray:
    """float32 for every floating type, some of which numpy lacks; others as they are."""
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} is {list(tensor.shape)}, more than the file holds of it")
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


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
