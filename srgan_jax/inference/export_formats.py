"""The file formats of an export: how each is written, and how it is run from the file alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.export import deserialize, symbolic_shape
from jax.export import export as lower
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from srgan_jax.inference.fold import fold
from srgan_jax.models.build import build_generator
from srgan_jax.weights.generator_file import read_config, read_variables, write_generator
from srgan_jax.weights.readers import flatten

PLATFORMS = ("cpu", "cuda", "tpu")
FRAMES = "jax_traceback_in_locations_limit"

Run = Callable[[Float[np.ndarray, "b h w 3"]], Float[np.ndarray, "b H W 3"]]


class Trained(NamedTuple):
    """What is exported; facts: about it, for the files that can hold such."""

    network: nn.Module
    variables: Any
    config: ConfigDict
    facts: Mapping[str, str]


def enlarge(network: nn.Module, variables: Any, lr: Float[Array, "b h w 3"]) -> Float[Array, "b H W 3"]:
    """The function that every format holds: LR in [0, 1] to SR in [0, 1], clipped; in float32, running statistics."""
    sr = network.clone(dtype=jnp.float32).apply(variables, lr, train=False)
    assert isinstance(sr, jax.Array)
    return jnp.clip((sr + 1) / 2, 0, 1)


compiled = jax.jit(enlarge, static_argnums=0)


def write_stablehlo(path: Path, trained: Trained) -> None:
    """One program for every size and for PLATFORMS, weights inside, as jax.export serialises it."""
    network, variables = fold(trained.network, trained.variables)
    variables = jax.tree.map(np.asarray, variables)  # constants of the program, on no device
    b, h, w = symbolic_shape("b, h, w")
    kept = getattr(jax.config, FRAMES)
    jax.config.update(FRAMES, 0)  # the paths of this machine's source files stay out of what is written
    try:
        program = jax.jit(lambda lr: enlarge(network, variables, lr))
        exported = lower(program, platforms=PLATFORMS)(jax.ShapeDtypeStruct((b, h, w, 3), jnp.float32))
    finally:
        jax.config.update(FRAMES, kept)
    path.write_bytes(exported.serialize())


def run_stablehlo(path: Path) -> Run:
    exported = deserialize(bytearray(path.read_bytes()))
    return lambda lr: np.asarray(exported.call(lr))


def write_onnx(path: Path, trained: Trained) -> None:
    from srgan_jax.inference.onnx_graph import onnx_model

    network, variables = fold(trained.network, trained.variables)
    path.write_bytes(onnx_model(network, variables["params"], trained.facts).SerializeToString(deterministic=True))


def run_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda lr: session.run(["sr"], {"lr": lr.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)


def write_safetensors(path: Path, trained: Trained) -> None:
    """As a run's checkpoint has them: BatchNorm is not folded, so that training can start from the file."""
    stated = {"weights_sha256": trained.facts["weights_sha256"]}
    variables = {name: np.asarray(array) for name, array in flatten(trained.variables)}
    write_generator(path, variables, trained.config, trained.facts["name"], stated)


def run_safetensors(path: Path) -> Run:
    config, _ = read_config(path, "-o")
    network, variables = build_generator(config), read_variables(path, config, "-o")
    return lambda lr: np.asarray(compiled(network, variables, lr))


# format -> (file, how it is written, how it is run)
FORMATS: dict[str, tuple[str, Callable[[Path, Trained], None], Callable[[Path], Run]]] = {
    "stablehlo": ("generator.stablehlo", write_stablehlo, run_stablehlo),
    "onnx": ("generator.onnx", write_onnx, run_onnx),
    "safetensors": ("generator.safetensors", write_safetensors, run_safetensors),
}
