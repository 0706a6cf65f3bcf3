"""Compiled programs, which are dropped again where there are many: a size of picture may want one of its own."""

from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import jax

# On a CPU each holds some 9 MB and 50 to 80 memory maps; a process that asks Linux for more than 65,530 of them dies
MOST = 64

_kept: WeakKeyDictionary[Any, set[Any]] = WeakKeyDictionary()  # each function's, by the shapes of its arguments


def bounded(function: Any) -> Any:
    """The jitted function; once MOST programs have been compiled for all such together, they are dropped."""
    mine = _kept.setdefault(function, set())

    @wraps(function)
    def call(*arguments: Any) -> Any:
        shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(arguments))
        if shapes not in mine and sum(map(len, _kept.values())) >= MOST:
            for each, programs in _kept.items():
                each.clear_cache()
                programs.clear()
        mine.add(shapes)
        return function(*arguments)

    call.lower = function.lower  # type: ignore[attr-defined]
    return call
