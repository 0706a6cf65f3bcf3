"""The README.md beside exported files: what goes in, what comes out, and how to run each."""

from collections.abc import Mapping

import jax

from srgan_jax import __version__

LOADED = 'np.asarray(Image.open("photo.png").convert("RGB"), np.float32)[None] / 255'
SNIPPETS = {
    "stablehlo": f"""\
import numpy as np
from jax.export import deserialize
from PIL import Image

generator = deserialize(bytearray(open("generator.stablehlo", "rb").read()))
lr = {LOADED}
sr = np.asarray(generator.call(lr))
Image.fromarray(np.uint8(sr[0] * 255 + 0.5)).save("big.png")
""",
    "onnx": f"""\
import numpy as np
import onnxruntime
from PIL import Image

generator = onnxruntime.InferenceSession("generator.onnx")
lr = {LOADED}
(sr,) = generator.run(["sr"], {{"lr": lr.transpose(0, 3, 1, 2)}})
Image.fromarray(np.uint8(sr[0].transpose(1, 2, 0) * 255 + 0.5)).save("big.png")
""",
    "safetensors": """\
import numpy as np
import srgan_jax
from PIL import Image

lr = np.asarray(Image.open("photo.png").convert("RGB"))
Image.fromarray(srgan_jax.upscale(lr, "generator.safetensors")).save("big.png")
""",
}
PASSAGES = {
    "stablehlo": """\
## generator.stablehlo: JAX on a CPU, an NVIDIA GPU or a TPU

float32[b, h, w, 3] to float32[b, {scale}h, {scale}w, 3]: channels last, any batch and size, weights inside. Needs jax,
numpy and flatbuffers, not srgan_jax. Each new shape is compiled once; a server that takes pictures of many sizes pads
them to a few. It was run on a CPU; that it holds programs for cuda and tpu is all that is known of those.

JAX promises that a file runs on a JAX up to 6 months newer than the one that wrote it, {jax}, and up to 3 weeks older.
For longer keep the weights, and export again.
""",
    "onnx": """\
## generator.onnx: ONNX Runtime, also in browsers, and whatever else reads ONNX

float32[N, 3, H, W] to float32[N, 3, {scale}H, {scale}W]: **channels first**, any batch and size; input `lr`, output
`sr`. BatchNorm is folded into the convolutions. The metadata has name, scale, ranges and the weights' sha256.
""",
    "safetensors": """\
## generator.safetensors: srgan_jax

The weights alone, with what makes the network of them. The file stands wherever srgan_jax takes a run:
`srgan upscale -i photo.png -o big.png --checkpoint generator.safetensors`. In Python, with
8-bit levels in and out:
""",
}


HEAD = """\
# {name}: pictures {scale} times as wide and high

- In: {input}: 8-bit levels divided by 255. Grey is repeated in all three; no transparency.
- Out: {output}.
- A picture is enlarged whole: the memory it takes grows with its area.
- sha256 of the weights: {weights_sha256}
  (`weights_sha256` of `srgan evaluate --json`)

Written by srgan_jax {version}. Each file was read back and run on a CPU, on small pictures of several sizes. The
differences to the trained network are of values in [0, 1], where a level of 8 bits is 0.004.

| file | greatest difference | sha256 |
|---|---|---|
"""


def readme(facts: Mapping[str, str], files: Mapping[str, tuple[str, float, str]]) -> str:
    """Markdown. `facts` are those of export; `files`: format -> (name, greatest difference to the network, sha256)."""
    rows = "".join(f"| {name} | {difference:.2g} | {digest} |\n" for name, difference, digest in files.values())
    text = HEAD.format(**facts, version=__version__) + rows
    for format in files:
        passage = PASSAGES[format].format(**facts, jax=jax.__version__)
        text += f"\n{passage}\n```python\n{SNIPPETS[format]}```\n"
    return text
