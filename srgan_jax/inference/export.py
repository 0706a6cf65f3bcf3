"""A trained generator for other programs: each file is run and compared with the network before it is kept."""

import importlib.util
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.inference.export_formats import FORMATS, Trained, compiled
from srgan_jax.inference.export_readme import readme
from srgan_jax.provenance import digest_tree
from srgan_jax.weights.generator_file import can_be_shown
from srgan_jax.weights.tensors import sha256

SHAPES = ((1, 24, 24), (1, 17, 23), (2, 9, 13), (1, 1, 7), (3, 32, 5))  # batch, height, width that are compared
TOLERANCE = 1e-4  # of values in [0, 1]: a fortieth of a level of 8 bits
README = "README.md"


class Exported(NamedTuple):
    """A written file, and its greatest difference to the network over SHAPES, of values in [0, 1]."""

    name: str
    difference: float
    sha256: str


def export(
    network: nn.Module,
    variables: Any,
    config: ConfigDict,
    name: str,
    *,
    output: Path,
    formats: Iterable[str],
    overwrite: bool = False,
) -> list[Exported]:
    """Writes the file of each of `formats` (FORMATS) into the folder `output`, with a README.md on how to run them.

    The first four are those of load_generator. All formats compute in float32, whatever config.dtype is. The files are
    compared on the CPU; unless all agree nothing is written.

    Raises:
      UserError: `output` is a file or cannot be written, files are there and may not be replaced, a package is missing,
        the name cannot be shown, or a file differs from the network by more than TOLERANCE.
    """
    formats = list(dict.fromkeys(formats))
    files = [*(FORMATS[name][0] for name in formats), README]
    missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
    if "onnx" in formats and missing:
        raise UserError(f"--to onnx: needs {' and '.join(missing)}; pip install {' '.join(missing)}")
    if not can_be_shown(name):
        raise UserError(f"{name!r}: no name that can be shown; rename the run's folder")
    output = output.absolute()
    place = next(path for path in (output, *output.parents) if path.exists())
    if not place.is_dir():
        raise UserError(f"-o: {place} is a file; give a folder")
    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError("JAX_PLATFORMS: files are compared with the network on the CPU; add ,cpu to it") from error
    there = [file for file in files if (output / file).exists()]
    if there and not overwrite:
        others = [file for file, *_ in FORMATS.values() if file not in files and (output / file).exists()]
        lost = f" ({README} would no longer tell of {', '.join(others)})" if others and README in there else ""
        raise UserError(f"-o: {output} has {', '.join(there)} already; give --overwrite to replace them{lost}")
    for file in there:
        if (output / file).is_dir():
            raise UserError(f"-o: {output / file} is a folder; move it away")
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".export-", dir=place)
    except OSError as error:
        raise UserError(f"-o: {output}: {error.strerror}; give a folder that can be written") from error
    with temporary as folder:
        with jax.default_device(cpu):
            done = _write(Trained(network, variables, config, _facts(variables, config, name)), Path(folder), formats)
        output.mkdir(parents=True, exist_ok=True)
        for file in files:
            (Path(folder) / file).replace(output / file)
    return done


def _facts(variables: Any, config: ConfigDict, name: str) -> dict[str, str]:
    return {
        "name": name,
        "scale": str(config.scale),
        "input": "RGB in [0, 1], float32",
        "output": "RGB in [0, 1], float32, clipped",
        "weights_sha256": digest_tree(variables),
    }


def _write(trained: Trained, folder: Path, formats: list[str]) -> list[Exported]:
    trained = trained._replace(variables=jax.tree.map(np.asarray, trained.variables))  # off any accelerator
    expected = [np.asarray(compiled(trained.network, trained.variables, lr)) for lr in _pictures()]
    done = {}
    for name in formats:
        file, write, read = FORMATS[name]
        write(folder / file, trained)
        run = read(folder / file)
        pairs = zip(_pictures(), expected, strict=True)
        difference = float(np.max([np.abs(run(lr) - sr).max() for lr, sr in pairs]))
        if not difference <= TOLERANCE:
            excess = f"differs from the network by {difference:.2g}, which is more than {TOLERANCE:g}"
            raise UserError(f"--to {name}: {file} {excess}; nothing was written, leave this format out")
        done[name] = Exported(file, difference, sha256(folder / file))
    (folder / README).write_text(readme(trained.facts, done), encoding="utf-8")
    return list(done.values())


def _pictures() -> Iterator[Float[np.ndarray, "b h w 3"]]:
    rng = np.random.default_rng(0)
    return (rng.random((*shape, 3), np.float32) for shape in SHAPES)
