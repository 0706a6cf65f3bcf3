"""FID's Inception from pytorch-fid's file, or one with its names, to what weights.inception_file reads."""

from pathlib import Path

import jax
import numpy as np

from srgan_jax.errors import UserError
from srgan_jax.models.inception import WIDTH
from srgan_jax.weights.fill import fill
from srgan_jax.weights.inception_file import NETWORK, TITLE, inception_shapes
from srgan_jax.weights.tensors import Tensors, check_name, expand, read_tensors, sha256, write_safetensors

CLASSES = 1008  # of TensorFlow's network, which alone gives FID; torchvision's of the same names has 1000
EPSILON = 1e-3  # of its batch normalisation
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def convert_inception(source: Path, output: Path, field: str = "SOURCE") -> None:
    """Writes the convolutions of `source` to `output`, HWIO, float32, batch normalisation folded into them.

    source: pytorch-fid's pt_inception-2015-12-05-6726825d.pth (reading it needs torch), or .safetensors with its names.
    `field` names the argument in messages.

    Raises:
      UserError: `source` cannot be read or is another network; `output` is not .safetensors, or cannot be written.
    """
    check_name(output)
    source, shapes = expand(source, field), inception_shapes()
    where = f"{field}={source}"
    theirs = {"fc.weight": jax.ShapeDtypeStruct((CLASSES, WIDTH), np.float32)}
    for name, ours in shapes.items():
        rows, columns, channels, width = ours["kernel"].shape
        theirs[f"{name}.conv.weight"] = jax.ShapeDtypeStruct((width, channels, rows, columns), np.float32)
        theirs |= {f"{name}.bn.{kind}": ours["bias"] for kind in BATCH_NORM}
    found = fill(theirs, read_tensors(source, field), {}, where, TITLE)
    flat: Tensors = {}
    for name in shapes:
        gain, shift, mean, variance = (found[f"{name}.bn.{kind}"].astype(np.float64) for kind in BATCH_NORM)
        if variance.min() < 0:
            raise UserError(f"{where}: {name}.bn.running_var has a variance below 0; fetch the file again")
        gain /= np.sqrt(variance + EPSILON)
        flat[f"{name}/kernel"] = found[f"{name}.conv.weight"].transpose(2, 3, 1, 0) * gain
        flat[f"{name}/bias"] = shift - mean * gain
    metadata = {
        "network": NETWORK,
        "origin": "tensorflow 2015-12-05",
        "input": "RGB in [-1, 1], 299x299, resized bilinearly without a filter against aliasing",
        "source": source.name,
        "source_sha256": sha256(source),
    }
    write_safetensors(output, flat, metadata)
