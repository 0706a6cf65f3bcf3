"""What is exported is the network: every variant, by other programs, and whole or not at all."""

import hashlib
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax.export import deserialize
from running import ROOT, names

from configs import base
from srgan_jax.errors import UserError
from srgan_jax.inference import export as exporting
from srgan_jax.inference.export import README, export
from srgan_jax.inference.export_formats import FORMATS, Trained
from srgan_jax.inference.onnx_graph import onnx_model
from srgan_jax.models.build import build_generator
from srgan_jax.weights.generator_file import expected_shapes, nest, read_config, read_variables
from srgan_jax.weights.tensors import sha256

FACTS = {"name": "A name", "weights_sha256": "0"}


def made_up(**fields):
    """(network, variables, config) of two blocks and eight features; no number is that of the start."""
    config = base.get_config()
    config.generator.update({"blocks": 2, "features": 8, "first_kernel": 5, "last_kernel": 3})
    config.scale, config.dtype = fields.pop("scale", 4), fields.pop("dtype", "float32")
    config.generator.update(fields)
    rng, variables = np.random.default_rng(0), {}
    for name, shape in expected_shapes(config).items():
        spread = 0.8 / np.sqrt(np.prod(shape[:-1])) if name.endswith("kernel") else 0.2
        centre = 0.7 if name.endswith(("var", "scale")) else 0.0
        variables[name] = (centre + spread * rng.uniform(-1.7, 1.7, shape)).astype(np.float32)
    return build_generator(config), nest(variables), config


def picture(*shape):
    return jnp.asarray(np.random.default_rng(1).random((*shape, 3), np.float32))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scale": 2, "norm": "none", "prelu": "channel", "first_kernel": 9, "last_kernel": 9},
        {"scale": 3, "skip": "bicubic", "output": "tanh", "norm_epsilon": 1e-3},
        {"output": "tanh", "prelu": "channel", "dtype": "bfloat16"},
        {"name": "msrresnet"},
        {"name": "rrdb", "growth": 4},
        pytest.param({"scale": 8, "skip": "bicubic", "prelu": "channel"}, marks=pytest.mark.slow),
        pytest.param({"name": "msrresnet", "scale": 2}, marks=pytest.mark.slow),
        pytest.param({"name": "msrresnet", "scale": 3}, marks=pytest.mark.slow),
        pytest.param({"name": "msrresnet", "scale": 8}, marks=pytest.mark.slow),
        pytest.param({"name": "rrdb", "growth": 8, "scale": 3}, marks=pytest.mark.slow),
    ],
    ids=lambda fields: " ".join(f"{name}={value}" for name, value in fields.items()) or "base",
)
def test_every_format_is_the_network(tmp_path, fields):
    network, variables, config = made_up(**fields)
    exact = jax.jit(partial(network.clone(dtype="float32").apply, train=False))
    runs = {}
    for name in ("stablehlo", "onnx"):
        file, write, read = FORMATS[name]
        write(tmp_path / file, Trained(network, variables, config, FACTS))
        runs[name] = read(tmp_path / file)
    for shape in [(2, 5, 8), (1, 1, 3)]:
        lr = picture(*shape)
        expected = (np.asarray(exact(variables, lr)) + 1) / 2
        assert np.mean((expected > 0) & (expected < 1)) > 0.3 and expected.std() > 0.02  # not all clipped
        for name, run in runs.items():
            np.testing.assert_allclose(run(np.asarray(lr)), expected.clip(0, 1), atol=2e-5, err_msg=name, strict=True)


def test_the_program_is_for_every_platform_and_names_no_path(tmp_path):
    network, variables, config = made_up(skip="bicubic")
    file, write, _ = FORMATS["stablehlo"]
    for copy in "ab":
        write(tmp_path / copy, Trained(network, variables, config, FACTS))
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert str(ROOT).encode() not in content and b"srgan_jax/" not in content and b"site-packages" not in content
    program = deserialize(bytearray(content))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval) for aval in (*program.in_avals, *program.out_avals)] == [
        "float32[b,h,w,3]",
        "float32[b,4*h,4*w,3]",
    ]
    # without weights in float32 it would be no larger than its operations
    assert len(content) > 4 * sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_what_the_graph_says_of_itself(tmp_path):
    network, variables, config = made_up(scale=3)
    file, write, _ = FORMATS["onnx"]
    write(tmp_path / file, Trained(network, variables, config, FACTS))
    model = onnx.load(tmp_path / file)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == FACTS
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    sides = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert sides == [["N", 3, "H", "W"], ["N", 3, "3*H", "3*W"]]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    with pytest.raises(UserError, match="no ONNX graph"):
        onnx_model(network, variables["params"], FACTS)  # not folded


def test_a_file_of_weights_is_what_it_came_from(tmp_path):
    network, variables, config = made_up(dtype="bfloat16")
    (written,) = export(network, variables, config, "A name", output=tmp_path / "new" / "one", formats=["safetensors"])
    path = tmp_path / "new" / "one" / written.name
    again, name = read_config(path, "")
    assert name == "A name" and build_generator(again) == network.clone(dtype=jnp.float32)
    assert sorted(again) == ["dtype", "generator", "scale"]
    jax.tree.map(np.testing.assert_array_equal, read_variables(path, again, ""), variables)
    assert written.difference == 0 and written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_all_files_appear_or_none(tmp_path, monkeypatch):
    network, variables, config = made_up()
    arguments = (network, variables, config, "net")
    first = export(*arguments, output=tmp_path, formats=["onnx", "safetensors", "onnx"])
    assert names(tmp_path) == sorted([README, "generator.onnx", "generator.safetensors"])
    assert [file.name for file in first] == ["generator.onnx", "generator.safetensors"]
    assert 0 < first[0].difference < 1e-4
    before = {path.name: sha256(path) for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="has generator.safetensors, README.md already; give --overwrite"):
        export(*arguments, output=tmp_path, formats=["stablehlo", "safetensors"])
    broken = jax.tree.map(lambda x: x * np.float32("nan"), variables)
    with pytest.raises(UserError, match="--to onnx: generator.onnx differs from the network by nan"):
        export(network, broken, config, "net", output=tmp_path, formats=["onnx"], overwrite=True)
    monkeypatch.setattr(exporting, "TOLERANCE", 0.0)
    with pytest.raises(
        UserError, match="--to onnx: generator.onnx differs from the network by .*; nothing was written"
    ):
        export(*arguments, output=tmp_path / "other", formats=["safetensors", "onnx"])
    assert {path.name: sha256(path) for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    assert export(*arguments, output=tmp_path, formats=["onnx", "safetensors"], overwrite=True) == first
    assert {path.name: sha256(path) for path in tmp_path.iterdir()} == before  # the same bytes


def test_a_folder_that_cannot_be(tmp_path):
    network, variables, config = made_up()
    (tmp_path / "file").write_text("precious")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"-o: {tmp_path}/file is a file; give a folder"):
            export(network, variables, config, "net", output=output, formats=["onnx"])
    with pytest.raises(UserError, match="-o: /proc/none: .*; give a folder that can be written"):
        export(network, variables, config, "net", output=Path("/proc/none"), formats=["onnx"])
    (tmp_path / "folder" / "generator.onnx").mkdir(parents=True)
    with pytest.raises(UserError, match="-o: .*/folder/generator.onnx is a folder; move it away"):
        export(network, variables, config, "net", output=tmp_path / "folder", formats=["onnx"], overwrite=True)
    with pytest.raises(UserError, match="rename the run's folder"):
        export(network, variables, config, "a\nname", output=tmp_path, formats=["onnx"])
    assert names(tmp_path) == ["file", "folder"] and (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_its_packages_only_onnx_is_out_of_reach(tmp_path, monkeypatch, package):
    network, variables, config = made_up()
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    with pytest.raises(UserError, match=rf"--to onnx: needs {package}; pip install {package}"):
        export(network, variables, config, "net", output=tmp_path / "a", formats=["safetensors", "onnx"])
    assert not (tmp_path / "a").exists()
    assert export(network, variables, config, "net", output=tmp_path / "a", formats=["safetensors"])
