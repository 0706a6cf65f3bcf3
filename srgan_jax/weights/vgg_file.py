"""VGG weights from a file: .npz or .safetensors, arrays named as Keras does, `block1_conv1/kernel` (HWIO).

Files of other kinds, and other names, go through `srgan convert` first.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.models.vgg import kernel_shapes, layer_names
from srgan_jax.weights.fill import fill
from srgan_jax.weights.tensors import Tensors, expand, read_metadata, read_tensors

FIELD = "config.loss.feature.weights"

Params = dict[str, dict[str, np.ndarray]]


def load_vgg(path: str | os.PathLike[str], *, network: str, layer: str, origin: str, field: str = FIELD) -> Params:
    """Parameters of models.vgg.VGG up to `layer`: {"block1_conv1": {"kernel", "bias"}, ...}, float32.

    A .safetensors file may state "network" and "origin" in its metadata, and must then agree; an .npz
    states nothing, so its origin is taken on trust. `field` names the argument in messages. Raises UserError
    for a file that is missing, damaged, of another network or origin, or without a layer that phi needs;
    ValueError for an unknown network or layer.
    """
    shapes = {
        conv: {"kernel": jax.ShapeDtypeStruct(shape, np.float32), "bias": jax.ShapeDtypeStruct(shape[-1:], np.float32)}
        for conv, shape in kernel_shapes(network, layer).items()
    }
    if not os.fspath(path):
        raise UserError(
            f"{field} is empty: give an .npz or .safetensors file that holds {network}; `srgan convert {network}` "
            "makes one (README, VGG weights)"
        )
    path = expand(path, field)
    if path.suffix not in (".npz", ".safetensors"):
        raise UserError(
            f"{field}: {path} is neither .npz nor .safetensors: `srgan convert {network}` makes such a file of others"
        )
    if not path.exists():
        raise UserError(f"{field}: there is no file {path} (README, VGG weights, says how to get one)")
    arrays = read_tensors(path, field)
    stated = read_metadata(path, field) if path.suffix == ".safetensors" else {}

    _check_network(path, arrays, stated, network=network, layer=layer, origin=origin, field=field)
    return fill(shapes, arrays, {}, f"{field}: {path}", f"{network} (kernels in HWIO order)")


def random_vgg(network: str, layer: str, seed: int) -> Params:
    """He-initialised parameters of the shapes that load_vgg returns, for benchmarks and tests."""
    rng = np.random.default_rng(seed)
    params: Params = {}
    for conv, shape in kernel_shapes(network, layer).items():
        spread = np.float32(np.sqrt(2 / np.prod(shape[:3])))
        kernel = spread * rng.standard_normal(shape, dtype=np.float32)
        params[conv] = {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}
    return params


def feature_params(config: ConfigDict) -> Params:
    """What `config.loss.feature.weights` says: a file, or "random"; errors as load_vgg."""
    feature = config.loss.feature
    if feature.weights == "random":
        return random_vgg(feature.network, feature.layer, config.seed)
    return load_vgg(feature.weights, network=feature.network, layer=feature.layer, origin=feature.origin)


def digest(params: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """sha256 (hex) of the arrays in the order of their names, names and shapes included."""
    sha = hashlib.sha256()
    for conv in sorted(params):
        for kind in sorted(params[conv]):
            array = np.ascontiguousarray(params[conv][kind], dtype="<f4")
            sha.update(f"{conv}/{kind} {array.shape} ".encode())
            sha.update(array.tobytes())
    return sha.hexdigest()


def _check_network(
    path: Path, arrays: Tensors, stated: Mapping[str, str], *, network: str, layer: str, origin: str, field: str
) -> None:
    """Raise UserError unless the file is of that network and origin and reaches the layer."""
    # Only the config's own field can be mended by a change of what the config asks for.
    give = None if field == FIELD else f"give {network.upper()} of {origin.title()} origin"
    for key, asked in (("network", network), ("origin", origin)):
        found = stated.get(key, asked)
        if found != asked:
            advice = give or f"set config.loss.feature.{key} to it, not {asked!r}"
            raise UserError(f"{field}: {path} states {key} {found!r}: {advice}")
    if network == "vgg16" and "block3_conv4/kernel" in arrays:
        advice = give or "set config.loss.feature.network to it, not 'vgg16'"
        raise UserError(f"{field}: {path} holds vgg19: {advice}")

    last = None
    for name in layer_names(network):
        conv = "block{}_conv{}".format(*name.split("."))
        if not {f"{conv}/kernel", f"{conv}/bias"} <= arrays.keys():
            break
        last = name
        if name == layer:
            return
    if last is None:
        raise UserError(f"{field}: {path} has no block1_conv1/kernel and bias: give a file with Keras' names")
    advice = f"give it up to {layer}" if give else f"set config.loss.feature.layer to {last} or lower, not {layer}"
    raise UserError(f"{field}: {path} holds {network} only up to layer {last}: {advice}, or give the whole network")
