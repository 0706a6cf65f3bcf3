"""Named arrays put into the places of a network's parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from srgan_jax.errors import UserError
from srgan_jax.weights.tensors import Tensors


def fill(shapes: Any, tensors: Tensors, names: Mapping[str, str], where: str, network: str) -> dict[str, Any]:
    """The tree of `shapes` with float32 arrays in its places.

    An array is found by its path in the tree, "a/b/c", or what `names` has for that. `where` begins messages.

    Raises:
      UserError: an array is missing, of another shape, or holds no floating-point numbers.
    """

    def pick(path: Any, wanted: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        name = names.get(name, name)
        if name not in tensors:
            raise UserError(f"{where}: holds no {name}, so not {network}; convert the right file")
        array = tensors[name]
        if array.shape != wanted.shape or not np.issubdtype(array.dtype, np.floating):
            found, expected = f"{array.dtype}{list(array.shape)}", f"float32{list(wanted.shape)}"
            raise UserError(f"{where}: {name} is {found}, {network} has {expected}; convert the right file")
        return array.astype(np.float32)

    filled: dict[str, Any] = jax.tree_util.tree_map_with_path(pick, shapes)
    return filled
