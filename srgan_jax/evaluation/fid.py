"""FID (Heusel et al. 2017): how far two sets of pictures lie apart, by the statistics of a fixed classifier's features.

A figure of a set and not the mean of figures of pictures. It falls as the set grows (Chong & Forsyth 2020), so that
only sets of the same number of pictures compare.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from srgan_jax.inference.pictures import Picture
from srgan_jax.models.inception import Inception, network_input
from srgan_jax.provenance import digest_tree
from srgan_jax.weights.inception_file import load_inception

FID_CONVENTION = (
    "FID on RGB, no border removed, 2048 features of TensorFlow's Inception of 2015-12-05, resized to 299x299 "
    "bilinearly without a filter against aliasing; covariances over n - 1; lower is closer"
)
ENOUGH = 2048  # with fewer pictures than features no covariance has full rank

Features = Float[np.ndarray, "n d"]


@dataclass(frozen=True)
class Fid:
    """features: of pictures of any size, one row for each. convention: of each figure, with the weights' digest."""

    convention: dict[str, str]
    features: Callable[[Sequence[Picture]], Features]

    def __call__(self, outputs: Sequence[Sequence[Picture]], hr: Sequence[Picture]) -> list[dict[str, float]]:
        """The figures of each of `outputs` against `hr`. Raises ValueError for fewer than two pictures."""
        real = self.features(hr)
        return [{"fid": frechet(self.features(each), real), "fid_pictures": len(each)} for each in outputs]


def make_fid(path: Path, field: str) -> Fid:
    """The measure of a file that `srgan convert inception` wrote; `field` names the argument in messages.

    Raises:
      UserError: as load_inception.
    """
    loaded = load_inception(path, field)
    params = jax.device_put(loaded)

    @jax.jit
    def apply(params: Any, picture: jax.Array) -> jax.Array:
        features = Inception().apply({"params": params}, picture[None])
        assert isinstance(features, jax.Array)
        return features[0]

    def features(pictures: Sequence[Picture]) -> Features:
        return np.stack([apply(params, network_input(picture)) for picture in pictures])

    weights = f"{FID_CONVENTION}; weights {digest_tree(loaded)}"
    return Fid({"fid": weights, "fid_pictures": "number in each of the two sets"}, features)


def frechet(a: Features, b: Features) -> float:
    """The squared Frechet distance of the normal distributions with the means and covariances (n - 1) of two sets.

    |mean a - mean b|^2 + tr A + tr B - 2 tr (A B)^(1/2), Dowson & Landau 1982. With A = X'X and B = Y'Y the
    eigenvalues of A B are those of the symmetric M M', M = X Y', which has as many rows as X.

    Raises:
      ValueError: fewer than two rows in one of them.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance takes two pictures or more")
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart = a.mean(axis=0) - b.mean(axis=0)
    x, y = ((each - each.mean(axis=0)) / np.sqrt(len(each) - 1) for each in (a, b))
    product = _root(x) @ y.T
    trace = np.sum(np.sqrt(np.maximum(np.linalg.eigvalsh(product @ product.T), 0)))  # rounding may take them below 0
    return max(float(apart @ apart + np.sum(x**2) + np.sum(y**2) - 2 * trace), 0.0)


def _root(x: Features) -> Features:
    """R with R'R = X'X, of no more rows than columns, to stand for X."""
    if len(x) <= x.shape[1]:
        return x
    values, vectors = np.linalg.eigh(x.T @ x)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
