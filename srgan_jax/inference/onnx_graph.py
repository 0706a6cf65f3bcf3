"""A generator as an ONNX graph. Needs the package onnx: pip install onnx onnxruntime, or this project's extra `export`.

Channels come first, as ONNX has them: float32[N, 3, H, W] in [0, 1] to float32[N, 3, scale * H, scale * W] in [0, 1].
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from srgan_jax import __version__
from srgan_jax.errors import UserError
from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.models.rrdb import CONVS, DENSE, RESIDUAL, RRDBNet
from srgan_jax.models.srresnet import STAGES, SRResNet
from srgan_jax.ops.bicubic import upscale

OPSET, IR_VERSION = 17, 8  # of 2022: what reads ONNX today reads these


class Graph:
    """Nodes and constants so far; a value goes by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of what the node returns."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def conv(self, x: str, layer: Mapping[str, Any]) -> str:
        kernel = np.asarray(layer["kernel"]).transpose(3, 2, 0, 1)
        pads = [kernel.shape[2] // 2] * 4
        return self.add("Conv", x, self.constant(kernel), self.constant(layer["bias"]), pads=pads)

    def prelu(self, x: str, layer: Mapping[str, Any]) -> str:
        return self.add("PRelu", x, self.constant(np.reshape(layer["slope"], (-1, 1, 1))))

    def leaky(self, x: str, slope: float = 0.1) -> str:
        return self.add("LeakyRelu", x, alpha=slope)

    def plus(self, x: str, y: str, share: float) -> str:
        """x + share * y."""
        return self.add("Add", x, self.add("Mul", y, self.constant(share)))

    def shuffle(self, x: str, factor: int) -> str:
        """In torch's order of channels, which ONNX calls CRD."""
        return self.add("DepthToSpace", x, blocksize=factor, mode="CRD")

    def mirrored(self, x: str, axis: int, width: int) -> str:
        """`width` more on either side, mirrored with the border repeated, down to a side of one pixel; Pad cannot."""
        one = self.constant(1, np.int64)
        length = self.add("Gather", self.add("Shape", x), self.constant(axis, np.int64))
        end = self.add("Add", length, self.constant(width, np.int64))
        position = self.add("Range", self.constant(-width, np.int64), end, one)
        twice = self.add("Add", length, length)
        position = self.add("Mod", position, twice)
        back = self.add("Sub", self.add("Sub", twice, one), position)
        return self.add("Gather", x, self.add("Min", position, back), axis=axis)

    def bicubic(self, x: str, factor: int) -> str:
        """ops.bicubic.upscale. Resize, whose borders differ, is not the same."""
        pixel = jnp.zeros((5, 5, 1)).at[2, 2].set(1)
        spread = np.asarray(upscale(pixel, factor))[..., 0]  # what each output pixel has of the one in the middle
        taps = spread.reshape(5, factor, 5, factor)[::-1, :, ::-1]
        kernel = np.tile(taps.transpose(1, 3, 0, 2).reshape(factor**2, 1, 5, 5), (3, 1, 1, 1))
        padded = self.mirrored(self.mirrored(x, 2, 2), 3, 2)
        return self.shuffle(self.add("Conv", padded, self.constant(kernel), group=3), factor)

    def nearest(self, x: str, factor: int) -> str:
        scales, at = self.constant([1, 1, factor, factor]), {"coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", x, "", scales, mode="nearest", nearest_mode="floor", **at)

    def bilinear(self, x: str, factor: int) -> str:
        scales = self.constant([1, 1, factor, factor])
        return self.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")


def onnx_model(network: nn.Module, params: Any, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The graph of a network without BatchNorm (inference.fold), weights inside, input "lr", output "sr".

    `metadata` goes into the model's own. Raises UserError for BatchNorm or another network.
    """
    graph = Graph()
    if isinstance(network, SRResNet) and network.norm == "none":
        x, base = _srresnet(graph, network, params)
    elif isinstance(network, MSRResNet):
        x, base = _msrresnet(graph, network, params)
    elif isinstance(network, RRDBNet):
        x, base = _rrdb(graph, network, params)
    else:
        raise UserError(f"--to onnx: {type(network).__name__} has no ONNX graph; leave this format out")
    # [-1, 1] to [0, 1]; `base` has it already
    x = graph.add("Add", graph.add("Mul", x, graph.constant(0.5)), base)
    graph.add("Clip", x, graph.constant(0), graph.constant(1), output="sr")
    lr = helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["N", 3, "H", "W"])
    sr = helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["N", 3, f"{network.scale}*H", f"{network.scale}*W"])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "generator", [lr], [sr], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="srgan_jax",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def _srresnet(graph: Graph, network: SRResNet, params: Any) -> tuple[str, str]:
    """(what the network adds, in [-1, 1]; to what, in [0, 1])."""
    x = first = graph.prelu(graph.conv("lr", params["conv_first"]), params["prelu_first"])
    for i in range(network.blocks):
        block = params[f"block_{i}"]
        inner = graph.prelu(graph.conv(x, block["conv_0"]), block["prelu"])
        x = graph.add("Add", x, graph.conv(inner, block["conv_1"]))
    x = graph.add("Add", first, graph.conv(x, params["conv_after"]))
    for i, factor in enumerate(STAGES[network.scale]):
        x = graph.prelu(graph.shuffle(graph.conv(x, params[f"conv_up_{i}"]), factor), params[f"prelu_up_{i}"])
    x = graph.conv(x, params["conv_last"])
    x = graph.add("Tanh", x) if network.output == "tanh" else x
    return x, graph.bicubic("lr", network.scale) if network.skip == "bicubic" else graph.constant(0.5)


def _msrresnet(graph: Graph, network: MSRResNet, params: Any) -> tuple[str, str]:
    """As _srresnet."""
    x = graph.leaky(graph.conv("lr", params["conv_first"]))
    for i in range(network.blocks):
        inner = graph.add("Relu", graph.conv(x, params[f"block_{i}_conv_0"]))
        x = graph.add("Add", x, graph.conv(inner, params[f"block_{i}_conv_1"]))
    for i, factor in enumerate(STAGES[network.scale]):
        x = graph.leaky(graph.shuffle(graph.conv(x, params[f"conv_up_{i}"]), factor))
    x = graph.leaky(graph.conv(x, params["conv_hr"]))
    return graph.conv(x, params["conv_last"]), graph.bilinear("lr", network.scale)


def _rrdb(graph: Graph, network: RRDBNet, params: Any) -> tuple[str, str]:
    """As _srresnet."""
    x = first = graph.conv("lr", params["conv_first"])
    for i in range(network.blocks):
        block = x
        for j in range(DENSE):
            dense, seen = params[f"block_{i}"][f"dense_{j}"], x
            for k in range(CONVS - 1):
                seen = graph.add("Concat", seen, graph.leaky(graph.conv(seen, dense[f"conv_{k}"]), 0.2), axis=1)
            x = graph.plus(x, graph.conv(seen, dense[f"conv_{CONVS - 1}"]), RESIDUAL)
        x = graph.plus(block, x, RESIDUAL)
    x = graph.add("Add", first, graph.conv(x, params["conv_after"]))
    for i, factor in enumerate(STAGES[network.scale]):
        x = graph.leaky(graph.conv(graph.nearest(x, factor), params[f"conv_up_{i}"]), 0.2)
    x = graph.leaky(graph.conv(x, params["conv_hr"]), 0.2)
    return graph.conv(x, params["conv_last"]), graph.constant(0.5)
