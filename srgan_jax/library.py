"""What a program that uses a trained network needs: two functions, arrays in and out.

import srgan_jax

large = srgan_jax.upscale(picture)      # uint8[h, w, 3] -> uint8[4 h, 4 w, 3]
model = srgan_jax.load("runs/mine")     # a run, a file, or built-in weights
sr = model.apply(model.variables, lr)   # pure: to be jitted, differentiated, vmapped
"""

from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.inference.enlarge import LARGEST, Progress, make_enlarger
from srgan_jax.inference.fold import fold
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.builtin import DEFAULT

CHANNELS = (1, 2, 3, 4)  # grey, grey and alpha, RGB, RGBA


class Model(NamedTuple):
    """A trained generator.

    apply(variables, lr[b, h, w, 3] in [0, 1]) -> sr[b, scale * h, scale * w, 3] in [0, 1], float32 and clipped. It is
    pure. An SRResNet's BatchNorm is folded into the variables. At scale 1, image to image, h and w must be multiples of
    network.multiple, inference_norm "batch" takes statistics of all b, and upscale does not take it.
    """

    apply: Callable[[Any, Float[Array, "b h w 3"]], Float[Array, "b H W 3"]]
    variables: Any
    scale: int
    name: str
    network: nn.Module
    config: ConfigDict


def load(weights: str | Path | None = None, which: str | int = "best", field: str = "weights") -> Model:
    """The generator of a run (its folder), of a .safetensors file, or of the built-in list by name; None: its default.

    which: "best" or "latest" checkpoint of a run, or a step that is kept. field: what messages call the argument.

    Raises:
      UserError: there is no such thing, or it is damaged.
    """
    if not isinstance(weights, str | Path | None):
        raise UserError(f"{field}={weights!r}: give the path of a run or a file, or the name of a built-in network")
    trained = load_generator(DEFAULT if weights is None else weights, field=field, which=which)
    network, variables = fold(trained.network, trained.variables)

    def apply(variables: Any, lr: Float[Array, "b h w 3"]) -> Float[Array, "b H W 3"]:
        return jnp.clip((network.apply(variables, lr, train=False) + 1) / 2, 0, 1)  # type: ignore[operator]

    return Model(apply, variables, trained.config.scale, trained.name, network, trained.config)


def upscale(
    image: Num[np.ndarray, "h w *c"],
    weights: str | Path | Model | None = None,
    *,
    scale: float | None = None,
    tile: int | None = None,
    ensemble: bool = False,
    progress: Progress = lambda done, total: None,
) -> Num[np.ndarray, "H W *c"]:
    """The picture, `scale` times as wide and high, of the same kind: dtype and channels are kept.

    image: [h, w] or [h, w, c], c being 1 grey, 2 grey and alpha, 3 RGB or 4 RGBA; uint8 or uint16 in levels, float32 in
        [0, 1].
    weights: as in load, or what load gave, which need not be read again.
    scale: any factor from 1/64 to 64, the network's own if None; what that leaves is MATLAB's bicubic.
    tile: what a tile's sides are at most, in pixels of `image`; None: by the free memory; 0: all at once.
    ensemble: the mean over the eight ways to turn and mirror the picture, which takes eight times as long.
    progress: called with (done, all) after each tile; what it raises comes out.

    Raises:
      UserError: an image of another kind, a factor out of range, or what load raises.
      MemoryError: memory does for neither a tile nor for half of one.
    """
    if not hasattr(image, "dtype"):  # Pillow's pictures would come as what they are stored as: indices, ink, hues
        raise UserError("image: give an array, such as np.asarray(picture.convert('RGB'))")
    image = np.asarray(image)
    kinds = (np.uint8, np.uint16, np.float32)
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] not in CHANNELS):
        raise UserError(f"image has shape {image.shape}; give [h, w] or [h, w, c] with c from 1 to 4")
    if image.dtype not in kinds:
        raise UserError(f"image is {image.dtype}; give uint8, uint16, or float32 in [0, 1]")
    if image.dtype == np.float32 and not (image.min() >= 0 and image.max() <= 1):
        raise UserError(f"image is float32 from {image.min():g} to {image.max():g}; give [0, 1]")
    if scale is not None and not (isinstance(scale, Real) and 1 / LARGEST <= scale <= LARGEST):
        raise UserError(f"scale={scale!r}: give a factor from 1/{LARGEST} to {LARGEST}")
    model = weights if isinstance(weights, Model) else load(weights)
    full = image.reshape(*image.shape[:2], -1)
    enlarger = make_enlarger(model.network, model.variables, tile=tile, ensemble=ensemble)
    bands = enlarger.bands(lambda top, bottom: full[top:bottom], full.shape[:2], scale, progress)
    large = np.concatenate(list(bands))
    if image.dtype == np.float32:
        large = large.clip(0, 1)  # bicubic overshoots
    return large.reshape(*large.shape[:2], *image.shape[2:])
