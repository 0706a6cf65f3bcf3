"""Where arrays live. The only file that names a mesh: one axis, `data`, over all devices of all processes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from srgan_jax.errors import UserError
from srgan_jax.ops.conv import compiler_options


def make_mesh(batch_size: int, devices: int = 0) -> Mesh:
    """A mesh over the first `devices` devices (0 = all).

    Raises:
      UserError: the global batch does not divide by their number.
    """
    chosen = jax.devices()[: devices or None]
    if batch_size % len(chosen):
        raise UserError(f"config.batch_size={batch_size}: not divisible by the {len(chosen)} devices")
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """For [k, batch, ...]: each device holds its part of the batch."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays, the same or this process's share, as global arrays."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def compile_call(call: Callable, mesh: Mesh, *, batched: bool) -> jax.stages.Wrapped:
    """jit with the state donated; the fed batch is divided over the devices, everything else is on each.

    With these shardings XLA inserts the all-reduces, so that gradients, batch statistics and losses are those of
    the global batch on any number of devices.
    """
    everywhere = replicated(mesh)
    fed = over_batch(mesh) if batched else everywhere
    return jax.jit(
        call,
        in_shardings=(everywhere, everywhere, fed),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
        compiler_options=compiler_options(),
    )


def divide(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    """Keeps crops [k, batch, ...] that were cut inside jit divided over the devices."""
    return lambda crops: jax.lax.with_sharding_constraint(crops, over_batch(mesh))
