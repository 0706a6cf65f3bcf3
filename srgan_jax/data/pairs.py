"""Pairs of pictures as one picture of six channels: the generator's input, then what it is to make of it.

So whatever stores, cuts and turns photographs does it to both alike.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from srgan_jax.data.images import BrokenImage
from srgan_jax.data.source import Source, fingerprint_of
from srgan_jax.errors import UserError

Picture = UInt8[np.ndarray, "h w c"]
DIRECTIONS = ("AtoB", "BtoA")


def halves(image: Picture, direction: str = "AtoB") -> Picture:
    """A picture A|B as a pair: [h, 2 w, 3] to [h, w, 6]. BtoA: the right half is the input.

    Raises:
      BrokenImage: its width is odd.
    """
    width, rest = divmod(image.shape[1], 2)
    if rest:
        raise BrokenImage(f"{image.shape[1]} pixels wide: not two pictures side by side")
    parts = image[:, :width], image[:, width:]
    return np.concatenate(parts if direction == "AtoB" else parts[::-1], axis=-1)


def stacked(images: list[Picture]) -> Picture:
    """Pictures of one size on top of each other. Raises BrokenImage where the sizes differ."""
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise BrokenImage("the two pictures are " + " and ".join(f"{w}x{h}" for h, w in sorted(sizes)))
    return np.concatenate(images, axis=-1)


def square(image: Picture, side: int) -> Picture:
    """All of one picture, whatever its shape, as a square by Pillow's bicubic; as it is where `side` is 0."""
    if not side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def beside(source: Source, direction: str) -> Source:
    """Of pictures that each are two, A|B."""
    sizes = [(height, width // 2) for height, width in source.sizes]
    return _made(source, f"{direction} of", lambda index: halves(source.read(index), direction), sizes, 6)


def joined(inputs: Source, targets: Source, field: str, side: int = 0) -> Source:
    """Of two folders' pictures, matched by their names without endings; with `side`, squares of it.

    Raises:
      UserError: of a picture there is no other, or two are named alike; `field` is the targets'.
    """
    stems = [[str(PurePath(name).with_suffix("")) for name in source.names] for source in (inputs, targets)]
    for names in stems:
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice:
            raise UserError(f"{field}: two pictures are named {twice}; pairs are matched by that")
    lonely = sorted(set(stems[0]) ^ set(stems[1]))
    if lonely:
        raise UserError(
            f"{field}: {lonely[0]} is in one of the two folders alone, or of use in one alone (matched without ending)"
        )
    places = {name: index for index, name in enumerate(stems[1])}
    others = [places[name] for name in stems[0]]
    marks = [f"{mine} with {targets.marks[other]}" for mine, other in zip(inputs.marks, others, strict=True)]
    both = replace(inputs, marks=marks, fingerprint=fingerprint_of([inputs.fingerprint, targets.fingerprint]))

    def read(index: int) -> Picture:
        return stacked([square(inputs.read(index), side), square(targets.read(others[index]), side)])

    return _made(both, "pair", read, inputs.sizes, 6)


def resized(source: Source, side: int) -> Source:
    """Each as a square of this side; of pairs both pictures."""

    def read(index: int) -> Picture:
        image = source.read(index)
        parts = np.split(image, image.shape[-1] // 3, axis=-1)
        return np.concatenate([square(part, side) for part in parts], axis=-1)

    return _made(source, f"{side} of", read, [(side, side)] * len(source.sizes), source.channels)


def _made(
    source: Source, how: str, read: Callable[[int], Picture], sizes: list[tuple[int, int]], channels: int
) -> Source:
    """Another source of as many, known by other marks."""
    marks, fingerprint = [f"{how} {mark}" for mark in source.marks], fingerprint_of([how, source.fingerprint])
    return replace(source, read=read, fingerprint=fingerprint, marks=marks, channels=channels, sizes=sizes)
