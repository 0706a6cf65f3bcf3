"""Where photographs come from: a folder, a tfds data set, or the ones bundled with the project.

A source is random access to named photographs. Which ones are usable is found out once, from the headers; a
photograph that turns out broken when decoded is replaced by the next one, the same on every run.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from srgan_jax.data.images import BrokenImage, broken, image_size, list_images, read_image
from srgan_jax.errors import UserError

SAMPLES = Path(__file__).parent / "samples"  # the bundled photographs: train/ and validation/

log = logging.getLogger(__name__)


@dataclass
class Source:
    """Photographs by number. `fingerprint` changes with the set of photographs, not with where it lies."""

    names: list[str]
    read: Callable[[int], UInt8[np.ndarray, "h w 3"]]
    fingerprint: str
    min_side: int
    cache_bytes: int = 0
    marks: list[str] = field(default_factory=list)  # one for each photograph; changes with its content
    sizes: list[tuple[int, int]] = field(default_factory=list)  # heights and widths of the usable, where known
    _cache: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _bad: set[int] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def photograph(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Photograph `index`, or the next good one after it.

        Raises:
          UserError: not one photograph of the source is usable.
        """
        for candidate in (*range(index, len(self)), *range(index)):
            image = self._open(candidate, keep=True)
            if image is not None:
                return image
        raise UserError(f"config.data: none of the {len(self)} photographs can be used")

    def usable(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Every good photograph, once."""
        return (image for image in map(self._open, range(len(self))) if image is not None)

    def _open(self, index: int, keep: bool = False) -> UInt8[np.ndarray, "h w 3"] | None:
        """None for a bad one, which is reported by name the first time."""
        if index in self._cache or index in self._bad:
            return self._cache.get(index)
        try:
            image = self.read(index)
            if min(image.shape[:2]) < self.min_side:
                raise BrokenImage(too_small(image.shape[:2], self.min_side))
        except BrokenImage as error:
            with self._lock:
                if index not in self._bad:
                    log.warning("skipped %s: %s", self.names[index], error)
                self._bad.add(index)
            return None
        with self._lock:
            if keep and index not in self._cache and image.nbytes <= self.cache_bytes:
                self.cache_bytes -= image.nbytes
                self._cache[index] = image
        return image


def too_small(size: tuple[int, ...], side: int) -> str:
    return f"too small: {size[1]}x{size[0]}, the crop needs {side}x{side}"


def make_source(data: ConfigDict) -> Source:
    """The source that `config.data` asks for.

    Raises:
      UserError: the folder or data set is missing, empty, or has no photograph as large as `data.crop`.
    """
    if data.source == "tfds":
        return _tfds_source(data)
    if data.source == "folder":
        return folder_source(data.path, data.crop, "config.data.path", data.cache_mb)
    return folder_source(SAMPLES / data.split, data.crop, "config.data.split", data.cache_mb)


def folder_source(
    folder: str | Path, min_side: int, field_name: str, cache_mb: int = 0, crop_field: str = "config.data.crop"
) -> Source:
    """The usable images below a folder; the others are reported by name. Both fields are named in messages."""
    root = Path(folder)
    if not str(folder) or not root.is_dir():
        raise UserError(f"{field_name}={str(folder)!r}: no such folder")
    paths = list_images(root)
    if not paths:
        raise UserError(f"{field_name}={folder}: the folder holds no image")
    usable, sizes, skipped, largest = [], [], [], 0
    for path in paths:
        try:
            size = image_size(path)
            largest = max(largest, min(size))
            if min(size) < min_side:
                raise BrokenImage(too_small(size, min_side))
            usable.append(path)
            sizes.append(size)
        except BrokenImage as error:
            skipped.append((path, str(error)))
    if not usable:
        raise UserError(f"{crop_field}={min_side}: larger than every image in {folder} (largest short side: {largest})")
    for path, reason in skipped:
        log.warning("skipped %s: %s", path, reason)
    names = [path.relative_to(root).as_posix() for path in usable]
    marks = [_mark(path) for path in usable]
    return Source(
        names,
        lambda index: read_image(usable[index]),
        _fingerprint(list(zip(names, marks, strict=True))),
        min_side,
        cache_mb * 1_000_000,
        [f"{name} {size} {tail}" for name, (size, tail) in zip(names, marks, strict=True)],
        sizes,
    )


def _tfds_source(data: ConfigDict) -> Source:
    """A prepared tfds data set, read without TensorFlow through `as_data_source` (array_record files)."""
    import tensorflow_datasets as tfds  # seconds to import, and only needed here

    def refuse(error: Exception) -> UserError:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return UserError(
            f"config.data.name={data.name!r}: not found, not prepared as array_record, or without "
            f"config.data.split={data.split!r} ({first})"
        )

    try:
        builder = tfds.builder(data.name, data_dir=data.path or None)
    except Exception as error:
        raise refuse(error) from error
    features = builder.info.features
    images = sorted(name for name, item in features.items() if isinstance(item, tfds.features.Image))
    wanted = [data.feature] if data.feature else [n for n in ("hr", "image") if n in images][:1] or images
    if len(wanted) > 1 or not set(wanted) <= set(images) or not images:
        raise UserError(f"config.data.feature={data.feature!r}: must be one of {', '.join(images) or '(none)'}")
    name = wanted[0]
    others = {n: tfds.decode.SkipDecoding() for n in images if n != name}  # such as the LR that DIV2K comes with
    try:
        records = builder.as_data_source(split=data.split, decoders=others)
    except Exception as error:
        raise refuse(error) from error

    def read(index: int) -> np.ndarray:
        try:
            image: Any = np.asarray(records[index][name])
            return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
        except Exception as error:  # tfds keeps the bytes of a file as they came, and decodes them only here
            raise broken(error) from error

    names = [f"{data.name}[{index}]" for index in range(len(records))]
    mark = _fingerprint([builder.info.full_name, data.split, name, len(names)])
    marks = [f"{mark} {index}" for index in range(len(names))]
    return Source(names, read, mark, data.crop, data.cache_mb * 1_000_000, marks)


def _mark(path: Path) -> tuple[int, str]:
    """Size and a hash of the last 4 KB: what tells a file from another without reading all of it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 4096, 0))
        return size, hashlib.sha256(file.read()).hexdigest()


def _fingerprint(facts: list) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()
