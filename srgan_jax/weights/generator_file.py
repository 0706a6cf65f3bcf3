"""The file of one generator: a .safetensors whose metadata holds the config that makes the network."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.fields import check_values, flatten
from srgan_jax.models.build import build_generator, generator_shapes
from srgan_jax.models.rrdb import RRDBNet
from srgan_jax.weights.tensors import Tensors, read_header, read_tensors, write_safetensors

SECTIONS = ("scale", "dtype", "generator")  # of a run's config: what makes the network
CONVENTION = "LR in [0, 1], output in [-1, 1]"


def write_generator(path: Path, variables: Tensors, config: ConfigDict, name: str, stated: dict[str, str]) -> None:
    """A file that read_config and read_variables read.

    `variables` by their paths, "params/conv_first/kernel"; of `config` the part is kept that makes the network, which
    computes in float32 whatever it was trained in; `name` is how tables call it; `stated` joins the metadata. Raises
    UserError if the file cannot be written.
    """
    metadata = {
        "kind": "generator",
        "network": config.generator.name,
        "config": json.dumps({field: config.to_dict()[field] for field in SECTIONS} | {"dtype": "float32"}),
        "convention": CONVENTION,
        "name": name,
    }
    write_safetensors(path, variables, metadata | stated)


def is_generator_file(path: str | Path) -> bool:
    """By its name, unless that is a folder's, which is a run: such a file may stand wherever a run may."""
    return Path(path).suffix == ".safetensors" and not os.path.isdir(path)


def read_config(path: Path, field: str) -> tuple[ConfigDict, str]:
    """(config with scale, dtype and generator; the name to show). Raises UserError for any other file."""
    stated, tensors = read_header(path, field)
    if stated.get("kind") != "generator":
        raise UserError(f"{field}={path}: holds no generator; make such a file with srgan convert")
    try:
        config, name = configs.from_json(stated["config"]), stated["name"]
        _check_config(config, len(tensors))
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError, UserError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{field}={path}: its config is damaged ({reason}); convert the weights again") from error
    if not can_be_shown(name):
        raise UserError(f"{field}={path}: its name {name!r} cannot be shown; convert the weights again with --name")
    return config, name


def _check_config(config: ConfigDict, tensors: int) -> None:
    """The file may come from anybody: what its config asks for is looked at before any network is made of it."""
    used = {field: config[field] for field in SECTIONS}
    check_values(flatten(used))
    network = build_generator(config)
    for field in ("blocks", "levels"):
        least = 30 if isinstance(network, RRDBNet) else 1  # tensors for each
        if least * getattr(network, field, 0) > tensors:
            raise ValueError(f"generator.{field}={getattr(network, field)} in a file of {tensors} tensors")
    expected_shapes(config)


def can_be_shown(name: str) -> bool:
    """Whether a table can have it in one line: neither empty nor with control characters."""
    return bool(name.strip()) and name.isprintable()


def read_variables(path: Path, config: ConfigDict, field: str) -> dict[str, Any]:
    """{"params": ..., "batch_stats": ...}. float32. Raises UserError if the tensors are not those of the config."""
    variables = read_tensors(path, field)
    shapes = expected_shapes(config)
    wrong = [n for n in sorted(shapes.keys() | variables) if n not in variables or variables[n].shape != shapes.get(n)]
    if wrong:
        raise UserError(f"{field}={path}: damaged ({wrong[0]} does not fit its config); convert the weights again")
    check_floating(variables, f"{field}={path}")
    return nest({name: array.astype(np.float32) for name, array in variables.items()})


def check_floating(tensors: Tensors, where: str) -> None:
    """Raises UserError for a tensor of whole numbers or truth values, which no weight is."""
    for name, array in tensors.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"{where}: {name} is {array.dtype}, not floating point; give the weights themselves")


def expected_shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """{"params/conv_first/kernel": its shape, ...} of the network that the config makes; errors of build_generator."""
    tree = generator_shapes(build_generator(config))
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
