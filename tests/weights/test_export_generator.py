"""Generators of ours for others: the same function there, back again, and what cannot be expressed."""

import h5py
import jax
import numpy as np
import pytest
import torch
from compiled import applied
from foreign_generators import (
    TorchMSRResNet,
    TorchRRDBNet,
    TorchSRResNet,
    krasserm,
    numpy_state,
    ours,
    picture,
    randomised,
    refusal,
    theirs,
)
from safetensors.numpy import load_file, save_file

from srgan_jax.training.trained import load_generator
from srgan_jax.weights.convert_generator import convert_generator
from srgan_jax.weights.export_generator import export_generator
from srgan_jax.weights.tensors import read_tensors, write_keras_h5


def h5_contents(path):
    """Everything in it: arrays by path, attributes by group."""
    arrays, attributes = {}, {}
    with h5py.File(path) as file:
        attributes[""] = {name: np.asarray(value) for name, value in file.attrs.items()}

        def keep(name, node):
            if isinstance(node, h5py.Dataset):
                arrays[name] = node[()]
            attributes[name] = {key: np.asarray(value) for key, value in node.attrs.items()}

        file.visititems(keep)
    return arrays, attributes


def test_exported_to_keras_it_is_the_file_it_came_from(tmp_path):
    source = krasserm("gan_generator.h5")
    convert_generator(source, output=tmp_path / "srgan.safetensors", field="")
    generator = load_generator(tmp_path / "srgan.safetensors", field="")
    export_generator(generator.variables, generator.config, "krasserm", tmp_path / "back.h5")
    (arrays, attributes), (back, back_attributes) = h5_contents(source), h5_contents(tmp_path / "back.h5")
    assert len(arrays) == 225 and arrays.keys() == back.keys() and attributes.keys() == back_attributes.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, back[name], strict=True)
    for group, values in attributes.items():
        assert values.keys() == back_attributes[group].keys()
        for name, value in values.items():
            np.testing.assert_array_equal(value, back_attributes[group][name], strict=True)


def shared_generator(tmp_path, **changes):
    """(variables, config) of a small SRResNet of ours whose every number is random, with biases before the norms."""
    torch.save(randomised(TorchSRResNet()).state_dict(), tmp_path / "ours.pth")
    convert_generator(tmp_path / "ours.pth", output=tmp_path / "ours.safetensors", field="")
    generator = load_generator(tmp_path / "ours.safetensors", field="")
    rng, (flat, tree) = np.random.default_rng(2), jax.tree.flatten(generator.variables)
    flat = [np.asarray(x) + (0.1 * rng.random(x.shape, np.float32) if x.ndim == 1 else 0) for x in flat]
    config = generator.config
    config.generator.update(changes)
    return jax.tree.unflatten(tree, flat), config, generator.network.clone(**changes)


@pytest.mark.parametrize(
    ("layout", "file", "changes"),
    [
        ("lornatang", "out.pth", {}),
        ("lornatang", "out.safetensors", {"norm_epsilon": 1e-2}),
        ("krasserm", "out.h5", {"output": "tanh"}),
    ],
)
def test_what_was_trained_here_and_exported_is_the_same_function(tmp_path, layout, file, changes):
    variables, config, network = shared_generator(tmp_path, **changes)
    export_generator(variables, config, layout, tmp_path / file)
    expected = (np.asarray(applied(network, variables, picture())) + 1) / 2
    if layout == "lornatang":
        there = TorchSRResNet()
        state = torch.load(tmp_path / file)["state_dict"] if file.endswith("pth") else load_file(tmp_path / file)
        there.load_state_dict({name: torch.as_tensor(tensor) for name, tensor in state.items()})
        np.testing.assert_allclose(theirs(there.eval(), picture()), expected.clip(0, 1), atol=1e-5)
    convert_generator(tmp_path / file, output=tmp_path / "back.safetensors", field="")
    np.testing.assert_allclose(ours(tmp_path / "back.safetensors", picture()), expected, atol=1e-5)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("layout", "network"),
    [
        ("lornatang", TorchSRResNet()),
        ("basicsr", TorchMSRResNet()),
        ("basicsr", TorchMSRResNet(3)),
        ("esrgan", TorchRRDBNet()),
    ],
)
def test_converted_and_exported_it_is_what_it_was(tmp_path, layout, network, ending):
    before = numpy_state(randomised(network))
    save_file(before, tmp_path / "in.safetensors")
    convert_generator(tmp_path / "in.safetensors", output=tmp_path / "ours.safetensors", field="")
    generator = load_generator(tmp_path / "ours.safetensors", field="")
    export_generator(generator.variables, generator.config, layout, tmp_path / f"out{ending}")
    wrapper = (
        {"lornatang": "state_dict/", "basicsr": "params/", "esrgan": "params/"}[layout] if ending == ".pth" else ""
    )
    after = read_tensors(tmp_path / f"out{ending}", "")
    assert {name.removeprefix(wrapper) for name in after} == {n for n in before if "num_batches" not in n}
    for name, array in after.items():
        np.testing.assert_allclose(array, before[name.removeprefix(wrapper)], atol=1e-6, strict=True)


def test_keras_files_that_count_from_elsewhere(tmp_path):
    """More than ten layers of a kind, numbered on from another model's, by a newer Keras."""
    variables, config, network = shared_generator(tmp_path, output="tanh", blocks=1)
    config.generator.blocks, network = 2, network.clone(blocks=2)
    export_generator(variables, config, "krasserm", tmp_path / "net.h5")
    arrays, _ = h5_contents(tmp_path / "net.h5")
    layers: dict = {}
    for path, array in arrays.items():
        layer, _, weight = path.split("/")
        base, _, number = layer.rpartition("_") if layer[-1].isdigit() and layer[-2] == "_" else (layer, "", "0")
        moved = f"{base.replace('_v1', '')}_{int(number) + 7}"
        layers.setdefault(moved, {})[weight] = array
    write_keras_h5(tmp_path / "moved.h5", dict(reversed(layers.items())))
    convert_generator(tmp_path / "moved.h5", output=tmp_path / "out.safetensors", field="")
    expected = (np.asarray(applied(network, variables, picture())) + 1) / 2
    np.testing.assert_allclose(ours(tmp_path / "out.safetensors", picture()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "changes", "part"),
    [
        ("lornatang", {"output": "tanh"}, "config.generator.output='tanh'"),
        ("lornatang", {"prelu": "channel"}, "config.generator.prelu='channel'"),
        ("lornatang", {"skip": "bicubic"}, "config.generator.skip='bicubic'"),
        ("lornatang", {"norm": "none"}, "config.generator.norm='none'"),
        ("lornatang", {"first_kernel": 5}, "config.generator.first_kernel=5"),
        ("lornatang", {"name": "msrresnet"}, "config.generator.name='msrresnet'"),
        ("krasserm", {}, "config.generator.output='none'"),
        ("krasserm", {"output": "tanh", "scale": 2}, "config.scale=2"),
        ("basicsr", {}, "config.generator.name='srresnet'"),
        ("basicsr", {"name": "msrresnet", "scale": 8}, "config.scale=8"),
        ("elsewhere", {}, "no layout to export to"),
    ],
)
def test_what_a_layout_cannot_express_is_refused(tmp_path, layout, changes, part):
    torch.save(TorchSRResNet().state_dict(), tmp_path / "net.pth")
    convert_generator(tmp_path / "net.pth", output=tmp_path / "net.safetensors", field="")
    generator = load_generator(tmp_path / "net.safetensors", field="")
    config = generator.config
    config.scale = changes.pop("scale", 4)
    config.generator.update(changes)
    output = tmp_path / ("out.h5" if layout == "krasserm" else "out.pth")
    assert part in refusal(export_generator, generator.variables, config, layout, output)
    assert "such a name" in refusal(export_generator, {}, config, "basicsr", tmp_path / "out.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "net.safetensors"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    torch.save(TorchMSRResNet().state_dict(), tmp_path / "net.pth")
    (tmp_path / "file").write_text("")
    below = tmp_path / "file"
    message = refusal(convert_generator, tmp_path / "net.pth", output=below / "x.safetensors", field="")
    assert f"{below}/x.safetensors: cannot be written" in message
    convert_generator(tmp_path / "net.pth", output=tmp_path / "ours.safetensors", field="")
    generator = load_generator(tmp_path / "ours.safetensors", field="")
    (tmp_path / "folder.pth").mkdir()
    for output in (below / "x.pth", below / "x.safetensors", tmp_path / "folder.pth"):
        message = refusal(export_generator, generator.variables, generator.config, "basicsr", output)
        assert f"{output}: cannot be written" in message
    assert not list(tmp_path.glob("*.partial"))
    message = refusal(convert_generator, tmp_path / "net.pth", output=tmp_path / "x.npz", field="")
    assert "x.npz" in message and ".safetensors" in message
    state = numpy_state(TorchMSRResNet())
    save_file(state, tmp_path / "same.safetensors")
    same = tmp_path / "same.safetensors"
    assert "would replace" in refusal(convert_generator, same, output=same, field="")
