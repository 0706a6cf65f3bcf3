"""A network's weights and its output as one program each: op by op XLA would compile dozens, for each size again."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array


@partial(jax.jit, static_argnums=0)
def initialised(network: nn.Module, images: Array, seed: int = 0) -> Any:
    return network.init(jax.random.key(seed), images, False)


@partial(jax.jit, static_argnums=0)
def applied(network: nn.Module, variables: Any, images: Array) -> Array:
    return network.apply(variables, images, train=False)
