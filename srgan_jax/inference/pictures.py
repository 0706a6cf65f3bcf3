"""Pictures for people to compare by eye."""

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "h w 3"]


def comparison(lr: Picture, outputs: list[Picture], hr: Picture, side: int = 192) -> Picture:
    """One row of centre cuts, `side` pixels each: LR by nearest neighbour, each output, HR."""
    scale = hr.shape[0] // lr.shape[0]
    nearest = lr.repeat(scale, axis=0).repeat(scale, axis=1)
    row = []
    for picture in (nearest, *outputs, hr):
        cut = centre(picture, side)
        row.append(np.pad(cut, [(0, side - cut.shape[0]), (0, side - cut.shape[1]), (0, 0)]))
    return np.hstack(row)


def centre(image: Picture, side: int, multiple: int = 1) -> Picture:
    """The centre square of `side` (0 = all, and at most all), cut to multiples of `multiple`."""
    height, width = (min(side or n, n) // multiple * multiple for n in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
