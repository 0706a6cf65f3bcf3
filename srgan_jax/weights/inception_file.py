"""The weights of FID's Inception from a file that convert_inception wrote."""

import os
from typing import Any

import jax
import numpy as np

from srgan_jax.errors import UserError
from srgan_jax.models.inception import SIDE, Inception
from srgan_jax.weights.fill import fill
from srgan_jax.weights.tensors import expand, read_metadata, read_tensors

NETWORK = "inception_fid"
TITLE = "the Inception of FID"


def inception_shapes() -> dict[str, Any]:
    """The parameters of models.inception.Inception, as shapes: {"Mixed_5b.branch1x1": {"kernel", "bias"}, ...}."""
    picture = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
    shapes: dict[str, Any] = jax.eval_shape(Inception().init, jax.random.key(0), picture)["params"]
    return shapes


def load_inception(path: str | os.PathLike[str], field: str) -> dict[str, Any]:
    """Parameters of models.inception.Inception, float32. `field` names the argument in messages.

    Raises:
      UserError: the file is missing, damaged, or was not written by `srgan convert inception`.
    """
    path = expand(path, field)
    stated = read_metadata(path, field).get("network")
    if stated != NETWORK:
        raise UserError(f"{field}={path}: states network {stated}, not {NETWORK}; `srgan convert inception` writes it")
    return fill(inception_shapes(), read_tensors(path, field), {}, f"{field}={path}", TITLE)
