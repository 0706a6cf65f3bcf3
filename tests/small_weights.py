"""A small network's weights in a file, for tests of what is done with weights."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs import base
from srgan_jax.models.build import build_generator
from srgan_jax.weights.generator_file import write_generator
from srgan_jax.weights.readers import flatten


def small_weights(path: Path, name: str = "small", scale: int = 4) -> Path:
    """One block over a bicubic enlargement, not trained but far enough from its start to differ from bicubic."""
    config = base.get_config()
    config.scale = scale
    config.generator.update(blocks=1, features=4, norm="none", skip="bicubic", first_kernel=3, last_kernel=3)
    variables = build_generator(config).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    rng = np.random.default_rng(scale)
    moved = {key: array + rng.uniform(-0.02, 0.02, array.shape) for key, array in flatten(variables)}
    write_generator(path, {key: array.astype(np.float32) for key, array in moved.items()}, config, name, {})
    return path
