"""A generator between two trained ones: network interpolation (Wang et al. 2018, ESRGAN, section 3.4)."""

import json
from pathlib import Path

import jax
import numpy as np

from srgan_jax.errors import UserError
from srgan_jax.models.build import differences
from srgan_jax.provenance import digest_tree
from srgan_jax.training.trained import Generator
from srgan_jax.weights.generator_file import can_be_shown, write_generator
from srgan_jax.weights.readers import flatten
from srgan_jax.weights.tensors import check_name


def interpolate(first: Generator, second: Generator, share: float, output: Path, name: str | None = None) -> None:
    """Writes (1 - share) * first + share * second, weight by weight, running statistics too, in float32.

    `name` is how tables call it (default: the file's). The file states both sources and the share.

    Raises:
      UserError: the networks differ, the share is outside [0, 1], or the file's name or `name` cannot be.
    """
    if not 0 <= share <= 1:  # a nan is not, either
        raise UserError(f"--share={share}: must be from 0, the first, to 1, the second")
    check_name(output)
    name = output.stem if name is None else name
    if not can_be_shown(name):
        raise UserError(f"--name={name!r}: cannot be shown in tables; give a name without control characters")
    if other := differences(second.network, first.network):
        raise UserError(f"SECOND={second.run}: another generator than FIRST ({'; '.join(other)})")
    mixed = jax.tree.map(
        lambda a, b: ((1 - share) * np.asarray(a) + share * np.asarray(b)).astype(np.float32),
        first.variables,
        second.variables,
    )
    sources = [{"name": g.name, "step": g.step, "weights_sha256": digest_tree(g.variables)} for g in (first, second)]
    write_generator(
        output, dict(flatten(mixed)), first.config, name, {"interpolated": json.dumps(sources), "share": repr(share)}
    )
