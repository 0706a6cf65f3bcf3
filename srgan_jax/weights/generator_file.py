"""The file of one generator: a .safetensors whose metadata holds the config that makes the network."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_generator
from srgan_jax.weights.tensors import Tensors, read_metadata, read_tensors


def is_generator_file(path: str | Path) -> bool:
    """By its name: such a file may stand wherever a run may."""
    return Path(path).suffix == ".safetensors"


def read_config(path: Path, field: str) -> tuple[ConfigDict, str]:
    """(config with scale, dtype and generator; the name to show). Raises UserError for any other file."""
    stated = read_metadata(path, field)
    if stated.get("kind") != "generator":
        raise UserError(f"{field}={path}: holds no generator; make such a file with srgan convert")
    try:
        config = configs.from_json(stated["config"])
        expected_shapes(config)
        return config, stated["name"]
    except (ValueError, TypeError, AttributeError, KeyError, UserError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{field}={path}: its config is damaged ({reason}); convert the weights again") from error


def read_variables(path: Path, config: ConfigDict, field: str) -> dict[str, Any]:
    """{"params": ..., "batch_stats": ...}. Raises UserError if the tensors are not those that the config asks for."""
    variables = read_tensors(path, field)
    shapes = expected_shapes(config)
    wrong = [n for n in sorted(shapes.keys() | variables) if n not in variables or variables[n].shape != shapes.get(n)]
    if wrong:
        raise UserError(f"{field}={path}: damaged ({wrong[0]} does not fit its config); convert the weights again")
    return nest(variables)


def expected_shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """{"params/conv_first/kernel": its shape, ...} of the network that the config makes; errors of build_generator."""
    network = build_generator(config)
    tree = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nest(variables: Tensors) -> dict[str, Any]:
    """{"params/a/kernel": x} to {"params": {"a": {"kernel": x}}}, with batch_stats even if there are none."""
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for path, array in variables.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = jnp.asarray(array)
    return tree
