"""A state's many small arrays as one vector for each kind, while a program makes several updates.

XLA gives each array kernels of its own for Adam, norms and the guard, more of them on a GPU than a small batch has
convolutions. Values stay the same but for rounding in norms: the rest is done to each number by itself.
"""

import math
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from srgan_jax.training.state import GanState, TrainState

SMALL = 2**20  # numbers: larger arrays are few, and would be copied


class Packed(NamedTuple):
    """small: float32 arrays end to end; large: the others, as they were."""

    small: Float[Array, " n"]
    large: list[Array]


def packing(tree: Any) -> tuple[Callable[[Any], Packed], Callable[[Packed], Any]]:
    """(pack, unpack) for trees of this one's shapes.

    The gradient of unpack is one concatenation; by itself it would be a sum of slices' padded to the whole length.
    """
    leaves, structure = jax.tree.flatten(tree)
    small = [i for i, leaf in enumerate(leaves) if leaf.dtype == jnp.float32 and leaf.size < SMALL]
    large = [i for i in range(len(leaves)) if i not in small]
    shapes = [leaves[i].shape for i in small]
    ends = list(accumulate(math.prod(shape) for shape in shapes))

    def pack(tree: Any) -> Packed:
        leaves = jax.tree.leaves(tree)
        return Packed(jnp.concatenate([jnp.zeros(0), *(_flat(leaves[i]) for i in small)]), [leaves[i] for i in large])

    @jax.custom_vjp
    def unpack(packed: Packed) -> Any:
        parts = (packed.small[a:b] for a, b in pairwise([0, *ends]))
        found = dict(zip(small, map(_shaped, parts, shapes), strict=True)) | dict(zip(large, packed.large, strict=True))
        return jax.tree.unflatten(structure, [found[i] for i in range(len(leaves))])

    unpack.defvjp(lambda packed: (unpack(packed), None), lambda _, gradient: (pack(gradient),))
    return pack, unpack


def _flat(x: Array) -> Float[Array, " n"]:
    """Last axis first, as cuDNN wants kernels: they need not be transposed then."""
    return (jnp.moveaxis(x, -1, 0) if x.ndim else x).reshape(-1)


def _shaped(x: Float[Array, " n"], shape: tuple[int, ...]) -> Array:
    return jnp.moveaxis(x.reshape(shape[-1:] + shape[:-1]), 0, -1) if shape else x.reshape(())


def packs() -> bool:
    """Whether it makes fewer kernels: on a TPU arrays of several axes lie in tiles, and XLA copies what is cut."""
    return jax.default_backend() == "gpu"


def pack_state(state: GanState) -> tuple[GanState, Callable[[GanState], GanState]]:
    """The state with both players packed, which updates as the state does, and the way back."""
    g, unpack_g = _player(state.g)
    d, unpack_d = _player(state.d) if state.d else (None, lambda d: d)
    return GanState(g, d, state.pool), lambda state: GanState(unpack_g(state.g), unpack_d(state.d), state.pool)


def _player(player: TrainState) -> tuple[TrainState, Callable[[TrainState], TrainState]]:
    structure = jax.tree.structure(player.params)
    pack, unpack = packing(player.params)
    pack_stats, unpack_stats = packing(player.batch_stats)

    def is_alike(tree: Any) -> bool:
        return bool(jax.tree.structure(tree) == structure)  # type: ignore[operator]

    def each(of: Callable, is_one: Callable[[Any], bool], tree: TrainState) -> TrainState:
        """With `of` done to the trees in it that are one for each parameter: Adam's means, say."""
        return jax.tree.map(lambda x: of(x) if is_one(x) else x, tree, is_leaf=is_one)

    def apply(variables: dict[str, Any], *images: Array, **options: Any) -> tuple[Array, dict[str, Any]]:
        trees = {"params": unpack(variables["params"]), "batch_stats": unpack_stats(variables["batch_stats"])}
        out, changed = player.apply_fn(trees, *images, **options)
        return out, {"batch_stats": pack_stats(changed.get("batch_stats", {}))}

    def back(packed: TrainState) -> TrainState:
        trees = each(unpack, lambda tree: isinstance(tree, Packed), packed.replace(batch_stats=None))
        return trees.replace(batch_stats=unpack_stats(packed.batch_stats), apply_fn=player.apply_fn)

    packed = each(pack, is_alike, player)
    return packed.replace(batch_stats=pack_stats(player.batch_stats), apply_fn=apply), back
