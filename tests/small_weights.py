"""Weights of a small network that was never trained, for tests of what is done with weights."""

import json
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from running import ROOT

from srgan_jax import config as configs
from srgan_jax.weights.generator_file import expected_shapes
from srgan_jax.weights.tensors import write_safetensors


def small_weights(path: Path, name: str, scale: int = 4) -> Path:
    """A generator's file of tiny.py's network."""
    config = configs.load(f"{ROOT}/configs/tiny.py", [f"--config.scale={scale}"])
    used = ConfigDict({field: config[field] for field in ("scale", "dtype", "generator")})
    rng = np.random.default_rng(scale)
    tensors = {key: rng.uniform(-0.2, 0.2, shape).astype(np.float32) for key, shape in expected_shapes(used).items()}
    metadata = {"kind": "generator", "name": name, "config": json.dumps(used.to_dict())}
    write_safetensors(path, tensors, metadata)
    return path
