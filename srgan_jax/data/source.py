"""Random access to named photographs.

Which ones are usable is found out once, from the headers; a photograph that turns out broken when decoded is replaced
by another one, the same on every run.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from srgan_jax.data.images import BrokenImage
from srgan_jax.errors import UserError

STAND_IN = 7  # of the lots, so that they are none of a pipeline's

log = logging.getLogger(__name__)


@dataclass
class Source:
    """Photographs by number. `fingerprint` changes with the set of photographs, not with where it lies.

    channels: 3, or 6 of pairs: the generator's input before what it is to make of it.
    """

    names: list[str]
    read: Callable[[int], UInt8[np.ndarray, "h w c"]]
    fingerprint: str
    min_side: int
    cache_bytes: int = 0
    marks: list[str] = field(default_factory=list)  # one for each photograph; changes with its content
    channels: int = 3
    sizes: list[tuple[int, int]] = field(default_factory=list)  # heights and widths of the usable, where known
    _cache: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _bad: set[int] = field(default_factory=set, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def photograph(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        """Photograph `index`; in place of a broken one another, by lot, so that no good one stands in for a whole row.

        Raises:
          UserError: not one photograph of the source is usable.
        """
        image = self._open(index, keep=True)
        if image is not None:
            return image
        for candidate in np.random.default_rng([STAND_IN, index]).permutation(len(self)):
            image = self._open(int(candidate), keep=True)
            if image is not None:
                return image
        raise UserError(f"config.data: none of the {len(self)} photographs can be used")

    def usable(self) -> Iterator[UInt8[np.ndarray, "h w c"]]:
        """Every good photograph, once."""
        return (image for image in map(self._open, range(len(self))) if image is not None)

    def _open(self, index: int, keep: bool = False) -> UInt8[np.ndarray, "h w c"] | None:
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


def fingerprint_of(facts: list) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()
