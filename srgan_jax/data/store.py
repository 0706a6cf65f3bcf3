"""Photographs decoded once: a folder of raw pixels that training maps into memory.

    index.jsonl   {"format": 1}, then a line for each photograph: [mark, shard, offset, height, width, channels] or
                  [mark, fault]
    00000.raw     uint8[height, width, channels] of one photograph after another, at most SHARD_BYTES or one photograph

The index alone says what is valid: what a shard holds beyond it was left by a preparation that was cut off, and the
next one takes it away. A photograph is known by its mark, so one that changed is decoded anew beside the old one.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from srgan_jax.data.images import BrokenImage
from srgan_jax.data.source import Source
from srgan_jax.errors import UserError
from srgan_jax.files import alone, replacing
from srgan_jax.weights.fetch import cache_dir

HEAD = json.dumps({"format": 1})
SHARD_BYTES = 1_000_000_000
COMMIT_SECONDS = 1.0  # what a kill can cost
TELL_SECONDS = 5.0
MOST = 16  # photographs decoded at a time: each takes memory, several times its pixels

log = logging.getLogger(__name__)


class NoStore(UserError):
    """The store itself is at fault, not a photograph: it cannot be written or loaded, or is something else."""


class Place(NamedTuple):
    """Where a photograph's pixels are."""

    shard: int
    offset: int
    height: int
    width: int
    channels: int = 3  # of a pair 6

    @property
    def end(self) -> int:
        return self.offset + self.channels * self.height * self.width


Entries = dict[str, Place | str]  # by mark; a str says why the photograph cannot be used


def with_store(source: Source, data: ConfigDict) -> Source:
    """The source as `config.data.store` wants it read: from a store, which is brought up to date first, or as it is.

    As it is, too, where it has no marks, by which a store knows photographs.

    Raises:
      UserError: a photograph cannot be read at the moment, or changed.
      NoStore: the store that is asked for cannot be used. The default one is done without, and that is said.
    """
    if data.source == "bundled" or data.store == "none" or not source.marks:
        return source
    origin = data.name if data.source == "tfds" else str(Path(data.path).resolve())
    try:
        folder = Path(data.store or default_folder(origin))
        return mapped(source, folder, prepare(source, folder, "config.data.store"))
    except NoStore as error:
        if data.store:
            raise
        log.warning("%s; until then photographs are decoded whenever they are needed, which is slow", error)
        return source


def default_folder(origin: str) -> Path:
    """Below the cache; `origin` is a folder's real path, or the name of a data set. NoStore where there is no cache."""
    try:
        cache = cache_dir()
    except UserError as error:
        raise NoStore(str(error)) from error
    return cache / "photographs" / f"{Path(origin).name}-{hashlib.sha256(os.fsencode(origin)).hexdigest()[:16]}"


def mapped(source: Source, folder: Path, entries: Entries) -> Source:
    """The source with its photographs as read-only views of the store, which has all of them."""
    wanted = [entries[mark] for mark in source.marks]
    used = {place.shard for place in wanted if isinstance(place, Place)}
    shards = {shard: np.asarray(np.memmap(_shard(folder, shard), np.uint8, "r")) for shard in used}

    def read(index: int) -> UInt8[np.ndarray, "h w c"]:
        place = wanted[index]
        if isinstance(place, str):
            raise BrokenImage(place)
        return shards[place.shard][place.offset : place.end].reshape(place[2:])

    sizes = [(place.height, place.width) for place in wanted if isinstance(place, Place)]
    return replace(source, read=read, cache_bytes=0, sizes=sizes)


def prepare(source: Source, folder: Path, field: str) -> Entries:
    """Decodes what the store lacks of the source. `field` is named in messages.

    At any moment, be it of a kill, the store is valid and what it has is not decoded again; of two processes at once
    one waits for the other.

    Raises:
      NoStore: no room, no right to write, or the folder holds something else.
      UserError: a photograph cannot be read at the moment, or changed.
    """
    entries = _known(source, folder, field)
    if all(mark in entries for mark in source.marks):
        return entries
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir()}
        if there and not there & {"index.jsonl", "index.lock"}:
            raise NoStore(f"{field}={folder}: the folder holds something else; choose a new one")
        with alone(folder / "index.lock", f"is preparing {folder}"):
            entries = _known(source, folder, field)  # the other process may have done it meanwhile
            missing = [index for index, mark in enumerate(source.marks) if mark not in entries]
            if missing:
                _fill(source, missing, folder, entries, field)
    except OSError as error:
        reason = error.strerror or str(error)
        raise NoStore(f"{field}={folder}: {reason}; choose a folder with room that can be written to") from error
    return entries


def _known(source: Source, folder: Path, field: str) -> Entries:
    """What the store has, without the photographs that were broken and no longer are: their marks may be the same."""
    entries = load(folder, field)
    broken = [index for index, mark in enumerate(source.marks) if isinstance(entries.get(mark), str)]
    for index, found in _decoded(source, broken):
        if not isinstance(found, str):
            entries.pop(source.marks[index], None)
    return entries


def load(folder: Path, field: str) -> Entries:
    """What the store has. Lines that were cut off, or whose pixels are not there, count for nothing.

    Raises:
      NoStore: the index is of another format, or cannot be read.
    """
    path = folder / "index.jsonl"
    try:
        lines = path.read_text(errors="replace").splitlines()
        sizes = {int(shard.stem): shard.stat().st_size for shard in folder.glob("[0-9]*.raw")}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise NoStore(f"{field}={folder}: cannot be read ({error}); choose another folder") from error
    if lines[:1] != [HEAD]:
        raise NoStore(f"{field}={path}: not a store of this version; delete the folder, or choose another")
    found = (_entry(line, sizes) for line in lines[1:])
    return dict(entry for entry in found if entry)


def _entry(line: str, sizes: dict[int, int]) -> tuple[str, Place | str] | None:
    try:
        match json.loads(line):
            case [str() as mark, str() as fault]:
                return mark, fault
            case [str() as mark, *numbers] if len(numbers) in (4, 5) and all(type(n) is int for n in numbers):
                place = Place(*numbers)
                if place.offset >= 0 and min(place[2:]) > 0 and place.end <= sizes.get(place.shard, 0):
                    return mark, place
    except (ValueError, RecursionError):
        pass
    return None


def _fill(source: Source, missing: list[int], folder: Path, entries: Entries, field: str) -> None:
    """Decodes the photographs `missing`; `entries` follows what is safely written."""
    log.info("decoding %d of %d photographs into %s, once", len(missing), len(source), folder)
    _write_index(folder, entries)
    shard, end = _tidy(folder, entries)
    fresh: Entries = {}
    need = [source.channels * math.prod(source.sizes[index]) for index in missing] if source.sizes else []
    written, began = 0, time.monotonic()
    committed, told = began, began
    try:
        for done, (index, image) in enumerate(_decoded(source, missing), 1):
            if isinstance(image, str):
                fresh[source.marks[index]] = image
            else:
                if end and end + image.nbytes > SHARD_BYTES:
                    shard, end = shard + 1, 0
                with _shard(folder, shard).open("ab") as file:
                    file.write(np.ascontiguousarray(image).data)
                place = fresh[source.marks[index]] = Place(shard, end, *image.shape)
                written, end = written + image.nbytes, place.end
            left, now = len(missing) - done, time.monotonic()
            if left and now - committed < COMMIT_SECONDS:
                continue
            _commit(folder, entries, fresh)
            fresh, committed = {}, time.monotonic()
            to_come = sum(need[done:]) if need else written / done * left
            lacking = to_come - shutil.disk_usage(folder).free
            if lacking > 0:
                raise NoStore(
                    f"{field}={folder}: the disk has about {lacking / 1e9:.1f} GB too little room for {len(source)} "
                    "decoded photographs; make room, or choose a folder on another disk"
                )
            if not left or now - told >= TELL_SECONDS:
                eta = timedelta(seconds=round((now - began) / done * left))
                percent = 100 * done // len(missing)
                log.info("decoded %d/%d (%d %%)  %.2f GB  ETA %s", done, len(missing), percent, written / 1e9, eta)
                told = now
    finally:
        _tidy(folder, entries)


def _decoded(source: Source, indices: list[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "h w c"] | str]]:
    """(index, pixels or what is wrong with them) in order, by all cores, a few photographs ahead."""

    def decode(index: int) -> tuple[int, np.ndarray | str]:
        try:
            return index, source.read(index)
        except BrokenImage as error:
            return index, str(error)
        except OSError as error:  # the machine's fault at the moment
            name, reason = error.filename or source.names[index], error.strerror or str(error)
            raise UserError(f"{name}: cannot be read ({reason}); give the same command again") from error

    allowed = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores, todo = min(len(allowed(0)) if allowed else os.cpu_count() or 1, MOST), iter(indices)
    with ThreadPoolExecutor(cores) as pool:
        waiting = deque(pool.submit(decode, index) for index in islice(todo, cores + 1))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(decode, index) for index in islice(todo, 1))


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.raw"


def _tidy(folder: Path, entries: Entries) -> tuple[int, int]:
    """Removes the bytes that no entry names, and returns where the next photograph goes: (shard, offset)."""
    ends = [(place.shard, place.end) for place in entries.values() if isinstance(place, Place)]
    shard, end = max(ends, default=(0, 0))
    for path in folder.glob("[0-9]*.raw"):
        if int(path.stem) > shard:
            path.unlink()
    if _shard(folder, shard).exists():
        os.truncate(_shard(folder, shard), end)
    return shard, end


def _write_index(folder: Path, entries: Entries) -> None:
    """Anew, so that lines which count for nothing cannot come to life when a shard grows."""
    with replacing(folder / "index.jsonl") as partial, partial.open("w") as file:
        file.write(HEAD + "\n" + _lines(entries))
        file.flush()
        os.fsync(file.fileno())


def _commit(folder: Path, entries: Entries, fresh: Entries) -> None:
    """Pixels first, then the lines that name them, each on the disk before the next."""
    for shard in {place.shard for place in fresh.values() if isinstance(place, Place)}:
        with _shard(folder, shard).open("rb") as pixels:
            os.fsync(pixels.fileno())
    with (folder / "index.jsonl").open("a") as file:
        file.write(_lines(fresh))
        file.flush()
        os.fsync(file.fileno())
    entries.update(fresh)


def _lines(entries: Entries) -> str:
    facts = ([mark, *([entry] if isinstance(entry, str) else entry)] for mark, entry in entries.items())
    return "".join(json.dumps(fact) + "\n" for fact in facts)
