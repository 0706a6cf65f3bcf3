"""Where photographs come from: a folder, a tfds data set, or the ones bundled with the project."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from srgan_jax.data.images import BrokenImage, broken, image_size, images_in, read_image
from srgan_jax.data.pairs import beside, joined, resized, square, stacked
from srgan_jax.data.source import Source, fingerprint_of, too_small
from srgan_jax.errors import UserError

SAMPLES = Path(__file__).parent / "samples"  # the bundled photographs: train/ and validation/
RECORDS_END = 2 * 65536  # of an array_record file, filled up to whole blocks of 64 KB: the index is before the last

log = logging.getLogger(__name__)


def make_source(data: ConfigDict) -> Source:
    """The source that `config.data` asks for.

    Raises:
      UserError: a folder or data set is missing, empty, or has no photograph as large as `data.crop`; of pairs, one
        of the two is missing.
    """
    side = 1 if data.resize else data.crop
    if data.source == "tfds":
        source = _tfds_source(data, side)
    elif data.source == "folder" and data.input == "pair":
        fields = "config.data.path", "config.data.target"
        source = folder_of_pairs(data.path, data.target, side, data, *fields, resize=data.resize)
    elif data.source == "folder":
        source = folder_source(data.path, side, "config.data.path", data.cache_mb)
    else:
        source = folder_source(SAMPLES / data.split, side, "config.data.split", data.cache_mb)
    return resized(source, data.resize) if data.resize else source


def folder_of_pairs(
    folder: str | Path,
    target: str | Path,
    min_side: int,
    data: ConfigDict,
    field_name: str,
    target_field: str,
    resize: int = 0,
    crop_field: str = "config.data.crop",
) -> Source:
    """Pictures A|B, or with `target` those of two folders, which differ in size if they are to be resized.

    Fields are named in messages; errors as folder_source's.
    """
    inputs = folder_source(folder, min_side, field_name, data.cache_mb, crop_field)
    if not target:
        return beside(inputs, data.direction)
    targets = folder_source(target, min_side, target_field, crop_field=crop_field)
    return joined(inputs, targets, target_field, resize)


def folder_source(
    folder: str | Path, min_side: int, field_name: str, cache_mb: int = 0, crop_field: str = "config.data.crop"
) -> Source:
    """The usable images below a folder; the others are reported by name. Both fields are named in messages.

    crop_field: the one that asks for `min_side`, "" if none does.
    """
    usable, sizes, skipped, largest = [], [], [], 0
    for path in images_in(folder, field_name):
        try:
            size = image_size(path)
            largest = max(largest, min(size))
            if min(size) < min_side:
                raise BrokenImage(too_small(size, min_side))
            usable.append(path)
            sizes.append(size)
        except BrokenImage as error:
            skipped.append((path, str(error)))
    if not largest:
        raise UserError(f"{field_name}={folder}: no image there can be read ({skipped[0][0].name}: {skipped[0][1]})")
    if not usable:
        wanted = f"{crop_field}={min_side}:" if crop_field else f"{field_name}={folder}: {min_side}, the least side, is"
        raise UserError(f"{wanted} larger than every image in {folder} (largest short side: {largest})")
    for path, reason in skipped:
        log.warning("skipped %s: %s", path, reason)
    names = [path.relative_to(folder).as_posix() for path in usable]
    marks = [_mark(path) for path in usable]

    def read(index: int) -> np.ndarray:
        path = usable[index]
        try:
            same = _mark(path) == marks[index]
        except FileNotFoundError:
            same = False
        if not same:  # another picture, or a stand-in, would be other samples than the run's
            raise UserError(f"{path}: changed, or went, since it was listed; put it back and give the command again")
        return read_image(path)

    return Source(
        names,
        read,
        fingerprint_of(list(zip(names, marks, strict=True))),
        min_side,
        cache_mb * 1_000_000,
        marks=[f"{name} {size} {tail}" for name, (size, tail) in zip(names, marks, strict=True)],
        sizes=sizes,
    )


def _tfds_source(data: ConfigDict, min_side: int) -> Source:
    """A prepared tfds data set, read without TensorFlow through `as_data_source` (array_record files)."""
    import tensorflow_datasets as tfds  # seconds to import, and only needed here

    def refuse(error: Exception) -> UserError:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(" Possible root causes:")
        return UserError(
            f"config.data.name={data.name!r}: not found, not prepared as array_record, or without "
            f"config.data.split={data.split!r} ({first})"
        )

    try:
        builder = tfds.builder(data.name, data_dir=data.path or None)
    except Exception as error:
        raise refuse(error) from error
    images = sorted(name for name, item in builder.info.features.items() if isinstance(item, tfds.features.Image))
    of_splits = data.input == "pair" and data.target in builder.info.splits
    wanted = _image_features(data, images, two=data.input == "pair" and not of_splits)
    for name in wanted:
        kind = np.dtype(builder.info.features[name].np_dtype)
        if kind != np.uint8:
            raise UserError(f"config.data.name={data.name!r}: its feature {name} is of {kind}; pictures must be uint8")
    others = {n: tfds.decode.SkipDecoding() for n in images if n not in wanted}  # such as the LR that DIV2K comes with
    try:
        tables = [builder.as_data_source(split=data.split, decoders=others)]
        tables += [builder.as_data_source(split=data.target, decoders=others)] if of_splits else []
    except Exception as error:
        raise refuse(error) from error
    if of_splits and not (builder.info.disable_shuffling and len(tables[0]) == len(tables[1])):
        raise UserError(
            f"config.data.target={data.target!r}: its pictures and those of {data.split} do not belong together by "
            "their numbers; prepare both with disable_shuffling, one for one, or give two features"
        )

    def colour(image: Any) -> np.ndarray:
        image = np.asarray(image)
        return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]

    def read(index: int) -> np.ndarray:
        try:
            return stacked([square(colour(table[index][name]), data.resize) for table in tables for name in wanted])
        except Exception as error:  # tfds keeps the bytes of a file as they came, and decodes them only here
            raise broken(error, names[index]) from error

    names = [f"{data.name}[{index}]" for index in range(len(tables[0]))]
    target = [data.target] if of_splits else []
    paths = [path for split in [data.split, *target] for path in builder.info.splits[split].filepaths]
    files = [(path.name, *_mark(path, RECORDS_END)) for path in paths]
    mark = fingerprint_of([builder.info.full_name, data.split, ",".join(wanted), len(names), *target, files])
    marks = [f"{mark} {index}" for index in range(len(names))]
    return Source(
        names, read, mark, min_side, data.cache_mb * 1_000_000, marks=marks, channels=3 * len(tables) * len(wanted)
    )


def _image_features(data: ConfigDict, images: list[str], two: bool) -> list[str]:
    """The one that is wanted of a data set's, or the two: input, target."""
    if two:
        pair: list[str] = [data.feature, data.target]
        if not set(pair) <= set(images) or data.feature == data.target:
            raise UserError(
                f"config.data.feature={data.feature!r}, config.data.target={data.target!r}: must be two of "
                f"{', '.join(images) or '(none)'}, or the target a split"
            )
        return pair
    usual = [name for name in images if name in ("hr", "image")][:1]
    wanted = [data.feature] if data.feature else usual or images
    if len(wanted) > 1 or not set(wanted) <= set(images) or not images:
        raise UserError(f"config.data.feature={data.feature!r}: must be one of {', '.join(images) or '(none)'}")
    return wanted


def _mark(path: Path, end: int = 4096) -> tuple[int, str]:
    """Size and a hash of the last bytes: what tells a file from another without reading all of it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - end, 0))
            return size, hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        error.filename = path
        raise
