"""BatchNorm with running statistics is a scale and a shift: the convolution before it can do both."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from srgan_jax.models.srresnet import SRResNet


def fold(network: nn.Module, variables: Any) -> tuple[nn.Module, Any]:
    """(network, variables) that give the same SR up to rounding, for inference only.

    An SRResNet with BatchNorm becomes one without; every other network is returned as it is. Pure: it can be part of
    a jitted function.
    """
    if not isinstance(network, SRResNet) or network.norm == "none":
        return network, variables
    params = _fold(variables["params"], variables["batch_stats"], network.norm_epsilon)
    return network.clone(norm="none"), {"params": params}


def _fold(params: Any, stats: Any, epsilon: float) -> dict[str, Any]:
    """Every norm_NAME goes into its neighbour conv_NAME."""
    folded = {name: child for name, child in params.items() if not name.startswith("norm_")}
    for name, statistics in stats.items():
        if not name.startswith("norm_"):
            folded[name] = _fold(params[name], statistics, epsilon)
            continue
        conv = "conv_" + name.removeprefix("norm_")
        scale = params[name]["scale"] / jnp.sqrt(statistics["var"] + epsilon)
        bias = params[name]["bias"] + (params[conv]["bias"] - statistics["mean"]) * scale
        folded[conv] = {"kernel": params[conv]["kernel"] * scale, "bias": bias}
    return folded
