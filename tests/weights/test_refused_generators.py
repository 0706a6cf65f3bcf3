"""Files that are no generator, or not whole: one line, nothing run, nothing left behind."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from foreign_generators import TorchMSRResNet, TorchRRDBNet, TorchSRResNet, krasserm, numpy_state, randomised, refusal
from safetensors.numpy import save_file
from torch import nn

from srgan_jax.weights import generator_layouts
from srgan_jax.weights.convert_generator import convert_generator
from srgan_jax.weights.tensors import write_keras_h5


def refused(source):
    """The message, with nothing left behind."""
    before = sorted(source.parent.iterdir())
    message = refusal(convert_generator, source, output=source.parent / "out.safetensors", field="SOURCE")
    assert sorted(source.parent.iterdir()) == before and message.startswith(f"SOURCE={source}: ")
    return message


def changed(state, **changes):
    """A state with tensors replaced; None takes one out."""
    state = state | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("make", "changes", "part"),
    [
        (TorchSRResNet, {"conv3__weight": None}, "conv3.weight is missing"),
        (TorchSRResNet, {"conv3__bias": None}, "conv3.bias is missing"),
        (TorchSRResNet, {"trunk__1__rcb__1__bias": None}, "trunk.1.rcb.1.bias is missing"),
        (TorchSRResNet, {"trunk__1__rcb__4__running_var": None}, "trunk.1.rcb.4.running_var is missing"),
        (TorchSRResNet, {"trunk__0__rcb__3__weight": np.zeros((8, 7, 3, 3))}, "trunk.0.rcb.3.weight is [8, 7, 3, 3]"),
        (TorchSRResNet, {"trunk__0__rcb__3__weight": np.zeros(8)}, "trunk.0.rcb.3.weight is [8]"),
        (TorchSRResNet, {"trunk__1__rcb__2__weight": np.zeros(5)}, "trunk.1.rcb.2.weight is [5]"),
        (TorchSRResNet, {"conv1__0__weight": np.zeros((8, 3))}, "conv1.0.weight is [8, 3]"),
        (TorchSRResNet, {"conv1__0__weight": np.zeros((8, 3, 4, 4))}, "fit no network"),
        (TorchSRResNet, {"conv1__0__weight": np.zeros((8, 1, 9, 9))}, "takes 1 channels and gives 3; take one"),
        (TorchSRResNet, {"upsampling__0__upsample_block__0__weight": np.zeros((40, 8, 3, 3))}, "fit no network"),
        (TorchSRResNet, {"trunk__0__rcb__5__weight": np.zeros(8)}, "trunk.0.rcb.5.weight has no place in srresnet"),
        (TorchMSRResNet, {"body__1__conv2__weight": None}, "body.1.conv2.weight is missing"),
        (TorchMSRResNet, {"upconv1__weight": None}, "upconv1.weight is missing"),
        (TorchMSRResNet, {"conv_after_body__weight": np.zeros(3)}, "conv_after_body.weight has no place in msrresnet"),
        (TorchRRDBNet, {"body__1__rdb3__conv5__bias": None}, "body.1.rdb3.conv5.bias is missing"),
        (TorchRRDBNet, {"body__0__rdb1__conv1__weight": np.zeros(3)}, "body.0.rdb1.conv1.weight is [3]"),
        (TorchRRDBNet, {"body__0__rdb1__conv2__weight": np.zeros((4, 8, 3, 3))}, "conv2.weight is [4, 8, 3, 3]"),
        (TorchRRDBNet, {"conv_up1__weight": None, "conv_up2__weight": None}, "conv_up1.weight is missing"),
        (TorchRRDBNet, {"conv_up1__weight": np.zeros((32, 8, 3, 3))}, "fit no network"),
        (TorchRRDBNet, {"conv_up3__weight": np.zeros(1), "conv_up4__weight": np.zeros(1)}, "4 enlargements"),
        (TorchRRDBNet, {"conv_first__weight": np.zeros((8, 12, 3, 3))}, "pixel unshuffle, as RealESRGAN_x2plus"),
        (TorchRRDBNet, {"conv_last__weight": np.zeros((4, 8, 3, 3))}, "takes 3 channels and gives 4; take one"),
        (TorchRRDBNet, {"body__0__rdb1__conv1x1__weight": np.zeros(3)}, "conv1x1.weight has no place in rrdb"),
        (TorchMSRResNet, {"body__0__conv1__weight": None}, "not a generator of krasserm, lornatang, basicsr"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, make, changes, part):
    state = changed(numpy_state(make()), **changes)
    save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, tmp_path / "net.safetensors")
    assert part in refused(tmp_path / "net.safetensors")


def test_an_rrdbnet_by_two_names_at_once(tmp_path):
    state = {
        name.replace("body.", "RRDB_trunk.").replace(".rdb", ".RDB"): a
        for name, a in numpy_state(TorchRRDBNet()).items()
    }
    save_file(state | {"HRconv.bias": state["conv_hr.bias"]}, tmp_path / "net.safetensors")
    assert ".bias is there twice, by two names" in refused(tmp_path / "net.safetensors")


def test_many_names_of_an_old_rrdbnet_take_no_time(tmp_path):
    odd = {f"model.{'9' * digits}.weight": np.zeros(1, np.float32) for digits in range(1, 5000, 10)}
    old = {"model.1.sub.0.RDB1.conv1.0.weight": np.zeros((4, 8, 3, 3), np.float32)}
    save_file(old | odd, tmp_path / "net.safetensors")
    assert "enlargements" in refused(tmp_path / "net.safetensors")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool])
def test_weights_are_floating_point(tmp_path, dtype):
    state = TorchSRResNet().state_dict()
    torch.save(state | {"conv3.weight": state["conv3.weight"].to(dtype)}, tmp_path / "net.pth")
    assert f"conv3.weight is {str(dtype).removeprefix('torch.')}, not floating" in refused(tmp_path / "net.pth")


@pytest.mark.parametrize(("file", "name"), [("net", "b\n\x1b[31m"), ("net", ""), ("net", " "), ("n\x1bet", None)])
def test_a_name_that_would_spoil_a_table_is_refused(tmp_path, file, name):
    torch.save(TorchSRResNet().state_dict(), tmp_path / f"{file}.pth")
    fields = {"output": tmp_path / "out.safetensors", "name": name, "field": "SOURCE"}
    message = refusal(convert_generator, tmp_path / f"{file}.pth", **fields)
    assert message.startswith("--name=") and message.isprintable() and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "network", [TorchSRResNet((2, 3)), TorchSRResNet((2,) * 4), TorchSRResNet(blocks=0), nn.Linear(2, 2)]
)
def test_other_networks_are_refused(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "net.pth")
    refused(tmp_path / "net.pth")


def test_the_discriminator_beside_them_is_refused(tmp_path):
    shutil.copy(krasserm("gan_discriminator.h5"), tmp_path / "d.h5")
    assert "not a generator of" in refused(tmp_path / "d.h5")


def test_a_conversion_that_came_out_another_network_is_refused(tmp_path, monkeypatch):
    wrong = generator_layouts.LAYOUTS["lornatang"]._replace(norm_epsilon=0.5)
    monkeypatch.setitem(generator_layouts.LAYOUTS, "lornatang", wrong)
    torch.save(randomised(TorchSRResNet()).state_dict(), tmp_path / "net.pth")
    assert "differs from the source" in refused(tmp_path / "net.pth")


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("ending", [".pth", ".pth.tar", ".pt", ".h5", ".safetensors"])
def test_a_file_with_code_or_damage_in_it_is_refused_and_not_run(tmp_path, ending):
    good = tmp_path / f"good{ending}"
    network = TorchSRResNet()
    if ending == ".h5":
        write_keras_h5(good, {"conv2d": {"kernel:0": np.zeros((9, 9, 3, 64), np.float32)}})
    elif ending == ".safetensors":
        save_file(numpy_state(network), good)
    else:
        torch.save(network.state_dict(), good)
    contents = {
        "truncated": good.read_bytes()[: len(good.read_bytes()) // 2],
        "empty": b"",
        "text": b"<html>not found</html>",
        "pickle": pickle.dumps(Trap(str(tmp_path / "trapped"))),
    }
    for name, content in contents.items():
        (tmp_path / name).with_suffix(ending).write_bytes(content)
        refused((tmp_path / name).with_suffix(ending))
    if ending == ".pth":
        torch.save({"state_dict": network.state_dict(), "x": Trap(str(tmp_path / "trapped"))}, tmp_path / "trap.pth")
        refused(tmp_path / "trap.pth")
    assert not (tmp_path / "trapped").exists()
    assert "no such file" in refused(tmp_path / f"missing{ending}")
