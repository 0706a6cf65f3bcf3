"""LPIPS weights from a file that convert_lpips wrote."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from srgan_jax.errors import UserError
from srgan_jax.models.lpips import LPIPS, TRUNKS
from srgan_jax.provenance import digest_tree
from srgan_jax.weights.fetch import cache_dir
from srgan_jax.weights.fill import fill
from srgan_jax.weights.tensors import Tensors, expand, read_metadata, read_tensors

# digest_tree of the parameters. Figures compare with other people's only if made with these; no format protects them.
PUBLISHED = {
    "alex": "4396829756800ca3f59553375c16d1f36080dcd49f5fbb6984effbc9913875a6",
    "vgg": "8eb5ae16b04d038c6ebf5d5070414b716ca48e1cd4d00e0f826c3591afd09578",
}


class Weights(NamedTuple):
    """Parameters of models.lpips.LPIPS(network), what their file states, and digest_tree of the parameters."""

    network: str
    params: dict[str, Any]
    metadata: dict[str, str]
    digest: str


def default_lpips() -> list[str]:
    """What is measured where nothing is asked for: AlexNet, the field's choice, if its weights are in the cache."""
    return ["alex"] if os.path.isfile(_cached("alex")) else []


def _cached(network: str) -> Path:
    return cache_dir() / f"lpips_{network}.safetensors"


def find_lpips(wanted: str, field: str) -> Path:
    """The file of "alex" or "vgg" in the cache, where `srgan convert lpips` puts it; anything else is a path.

    Raises:
      UserError: the cache does not have it yet.
    """
    if wanted not in TRUNKS:
        return Path(wanted)
    path = _cached(wanted)
    if not os.path.isfile(path):  # False as well for a cache that may not be looked into
        raise UserError(f"{field}={wanted}: its weights are not here yet; `srgan convert lpips` brings them")
    return path


def load_lpips(path: str | os.PathLike[str], field: str) -> Weights:
    """`field` names the argument in messages.

    Raises:
      UserError: the file is missing, damaged, or does not hold the published weights of LPIPS v0.1.
    """
    path = expand(path, field)
    metadata = read_metadata(path, field)
    networks = {f"lpips_{network}": network for network in TRUNKS}
    stated = metadata.get("network")
    if stated not in networks:
        choices = " or ".join(networks)
        raise UserError(f"{field}={path}: states network {stated}, not {choices}; `srgan convert lpips` writes these")
    params = fit(networks[stated], read_tensors(path, field), f"{field}={path}", {})
    return Weights(networks[stated], params, metadata, PUBLISHED[networks[stated]])


def fit(network: str, tensors: Tensors, where: str, names: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of LPIPS(network), float32; `names` maps our names to those of `tensors` where they differ.

    Raises:
      UserError: an array is missing or of another shape, or they are not the published ones.
    """
    picture = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(LPIPS(network).init, jax.random.key(0), picture, picture)["params"]
    squeezed = {name: np.squeeze(array) for name, array in tensors.items()}  # heads elsewhere are 1x1 convolutions
    params = fill(shapes, squeezed, names, where, f"LPIPS of {network}")
    if digest_tree(params) != PUBLISHED[network]:
        raise UserError(f"{where}: not the published weights of LPIPS v0.1 of {network}; fetch or convert them again")
    return params
