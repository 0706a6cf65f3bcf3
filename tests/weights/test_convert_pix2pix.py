"""pix2pix's generators from elsewhere: the same function as in torch, what is refused, and the commands."""

import json
import shutil

import jax
import numpy as np
import pytest
import torch
from foreign_generators import numpy_state, picture, randomised, refusal, theirs
from foreign_translators import Level, TorchResNet, TorchUNet
from safetensors.numpy import load_file, save_file
from torch import nn

from srgan_jax.__main__ import main
from srgan_jax.training.trained import load_config, load_generator
from srgan_jax.weights.convert_generator import convert_generator
from srgan_jax.weights.pix2pix_reference import pix2pix_resnet, pix2pix_unet
from srgan_jax.weights.tensors import read_metadata


def assert_same(network, path, image, tolerance=1e-4):
    """In use, with running statistics; of a network with batch norms with those of the picture too."""
    generator = load_generator(path, field="")
    batch = generator.config.generator.norm == "batch"
    assert generator.network.inference_norm == ("batch" if batch else "running")
    for inference_norm in ("running", "batch") if batch else ("running",):
        for module in network.modules():
            module.train(isinstance(module, nn.BatchNorm2d) and inference_norm == "batch")
        expected = theirs(network, 2 * image - 1)
        apply = jax.jit(generator.network.clone(inference_norm=inference_norm).apply, static_argnames="train")
        with jax.default_matmul_precision("highest"):  # the program that the conversion compiled
            found = np.asarray(apply(generator.variables, image, train=False))
        assert expected.std() > 0.02 and np.mean(np.abs(expected) < 0.99) > 0.5  # the tanh hides little
        np.testing.assert_allclose(found, expected, atol=tolerance)


def converted(network, tmp_path, wrap=lambda state: state):
    torch.save(wrap(network.state_dict()), tmp_path / "latest_net_G.pth")
    convert_generator(tmp_path / "latest_net_G.pth", output=tmp_path / "out.safetensors", field="")
    return tmp_path / "out.safetensors"


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """A converted U-Net of 5 levels, with batch norms."""
    return converted(randomised(TorchUNet()), tmp_path_factory.mktemp("unet"))


@pytest.mark.parametrize(
    ("levels", "norm"),
    [
        (5, "batch"),
        (5, "instance"),
        pytest.param(5, "none", marks=pytest.mark.slow),
        pytest.param(8, "instance", marks=pytest.mark.slow),
    ],
)
def test_a_unet_is_the_same_here(tmp_path, levels, norm):
    network = randomised(TorchUNet(levels, norm))
    path = converted(network, tmp_path)
    assert_same(network, path, picture(32, 64) if levels == 5 else picture(256, 512))
    section = load_config(path, "").generator
    assert (section.name, section.levels, section.features, section.norm) == ("unet", levels, 8, norm)
    assert section.dropout == 0.5 and load_config(path, "").scale == 1


@pytest.mark.parametrize(
    ("blocks", "norm", "dropout"),
    [
        (6, "instance", False),
        (9, "batch", True),
        pytest.param(6, "batch", False, marks=pytest.mark.slow),
        pytest.param(9, "instance", True, marks=pytest.mark.slow),
        pytest.param(6, "none", True, marks=pytest.mark.slow),
    ],
)
def test_a_resnet_is_the_same_here(tmp_path, blocks, norm, dropout):
    network = randomised(TorchResNet(blocks, norm, dropout=dropout))
    path = converted(network, tmp_path)
    assert_same(network, path, picture(32, 40))
    section = load_config(path, "").generator
    assert (section.name, section.blocks, section.features, section.norm) == ("resnet", blocks, 8, norm)
    assert section.dropout == (0.5 if dropout else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "sides", "fields"),
    [
        (lambda: TorchUNet(8, width=64), (256, 512), ("unet", "levels", 8, "batch", 0.5)),
        (lambda: TorchResNet(9, width=64), (40, 52), ("resnet", "blocks", 9, "instance", 0)),
    ],
    ids=["unet", "resnet"],
)
def test_of_full_size(tmp_path, make, sides, fields):
    network = randomised(make())
    path = converted(network, tmp_path)
    assert_same(network, path, picture(*sides))
    section = load_config(path, "").generator
    assert (section.name, fields[1], section[fields[1]], section.norm, section.dropout) == fields
    assert section.features == 64 and load_config(path, "").scale == 1


def with_statistics(state):
    """As old instance norms had them, which were never used."""
    norms = {name.rsplit(".", 1)[0].removesuffix("1") + "2" for name in state if ".conv_block.1." in name}
    extra = {f"{name}.running_{part}": torch.full((32,), 7.0) for name in norms for part in ("mean", "var")}
    assert len(extra) == 12
    return state | extra | {f"{name}.num_batches_tracked": torch.tensor(3) for name in norms}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": state, "epoch": 200},
        with_statistics,
    ],
)
def test_whatever_it_is_wrapped_in(tmp_path, wrap):
    network = randomised(TorchResNet())
    assert_same(network, converted(network, tmp_path, wrap), picture(32, 40))


def test_the_file_says_what_it_is(unet):
    stated = read_metadata(unet, "")
    assert (stated["kind"], stated["network"], stated["origin"]) == ("generator", "unet", "pix2pix_unet")
    assert stated["name"] == "latest_net_G" and stated["source"] == "latest_net_G.pth"
    assert "[-1, 1]" in stated["convention"] and json.loads(stated["config"])["scale"] == 1


@pytest.mark.parametrize("inference_norm", ["running", "batch"])
@pytest.mark.parametrize(
    ("make", "reference"), [(TorchUNet, pix2pix_unet), (lambda: TorchResNet(norm="batch"), pix2pix_resnet)]
)
def test_what_conversions_are_checked_against_is_torchs(make, reference, inference_norm):
    network = randomised(make())
    state = {name: array for name, array in numpy_state(network).items() if "num_batches" not in name}
    for module in network.modules():
        module.train(isinstance(module, nn.BatchNorm2d) and inference_norm == "batch")
    found = jax.jit(reference, static_argnums=2)(state, picture(32, 64), inference_norm)
    np.testing.assert_allclose(found, theirs(network, 2 * picture(32, 64) - 1), atol=1e-5)


DEEPEST = "model.model.1.model.3.model.3.model.3.model"


def changed(state, name, array):
    """With a tensor replaced, or without it; {"name": ...} adds one."""
    return {n: a for n, a in (state | {name: array}).items() if a is not None}


@pytest.mark.parametrize(
    ("make", "name", "array", "part"),
    [
        (TorchUNet, f"{DEEPEST}.1.weight", None, f"{DEEPEST}.1.weight is missing"),
        (TorchUNet, "model.model.3.bias", None, "model.model.3.bias is missing"),
        (TorchUNet, "model.model.1.model.2.weight", None, "model.model.1.model.2.weight is missing"),
        (TorchUNet, "model.model.1.model.2.bias", None, "model.model.1.model.2.bias is missing"),
        (TorchUNet, "model.model.1.model.2.running_var", None, "model.model.1.model.2.running_var is missing"),
        (TorchUNet, "model.model.0.weight", None, "not a generator of"),
        (TorchUNet, "model.model.9.weight", np.zeros(3), "model.model.9.weight has no place in unet"),
        (TorchUNet, "model.model.0.weight", np.zeros((8, 1, 4, 4)), "model.model.0.weight is of 1 channel; only"),
        (TorchUNet, "model.model.3.weight", np.zeros((16, 2, 4, 4)), "model.model.3.weight is of 2 channels; only"),
        (TorchUNet, "model.model.0.weight", np.zeros((8, 3)), "model.model.0.weight is [8, 3], not a convolution"),
        (TorchUNet, "model.model.0.weight", np.zeros((8, 3, 3, 3)), "model.model.0.weight is [8, 3, 3, 3], which does"),
        (TorchUNet, "model.model.0.weight", np.zeros((8, 3, 4, 4), np.int32), "is int32, not floating point"),
        (TorchUNet, "model.model.1.model.1.bias", np.zeros(16, np.int32), "is int32, not floating point"),
        (lambda: TorchUNet(norm="instance"), f"{DEEPEST}.1.bias", None, f"{DEEPEST}.1.bias is missing"),
        (TorchUNet, f"model.model.1{'.model.3' * 40}.model.1.weight", np.zeros(3), "a U-Net of 42 levels"),
        (TorchResNet, "model.13.conv_block.5.weight", None, "model.13.conv_block.5.weight is missing"),
        (TorchResNet, "model.4.bias", None, "model.4.bias is missing"),
        (TorchResNet, "model.16.weight", None, "model.16.weight is missing"),
        (TorchResNet, "model.2.weight", np.zeros(8), "model.2.weight has no place in resnet"),
        (TorchResNet, "model.1.weight", np.zeros((8, 4, 7, 7)), "model.1.weight is of 4 channels; only networks"),
        (TorchResNet, "model.23.weight", np.zeros((1, 8, 7, 7)), "model.23.weight is of 1 channel; only networks"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, make, name, array, part):
    state = changed(numpy_state(make()), name, array)
    save_file({n: np.ascontiguousarray(a) for n, a in state.items()}, tmp_path / "net.safetensors")
    assert part in refused(tmp_path / "net.safetensors")


def refused(source):
    message = refusal(convert_generator, source, output=source.parent / "out.safetensors", field="SOURCE")
    assert message.startswith(f"SOURCE={source}: ") and list(source.parent.iterdir()) == [source]
    return message


def patch_discriminator():
    """Names as the one beside those generators has them."""
    parts = [nn.Conv2d(6, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 4, 2, 1), nn.BatchNorm2d(16)]
    return nn.ModuleDict({"model": nn.Sequential(*parts, nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4, 1, 1))})


def one_level_too_few():
    network = TorchUNet()
    network.model = Level(3, 8, "batch", Level(8, 16, "batch"), outermost=True)
    return network


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (patch_discriminator, "not a generator of krasserm, lornatang, basicsr, esrgan, pix2pix_unet, pix2pix_resnet"),
        (one_level_too_few, "a U-Net of 2 levels; it takes 5 to 10"),
        (lambda: TorchResNet(0), "not a generator of"),
    ],
)
def test_other_networks_are_refused_by_the_command(tmp_path, capsys, make, part):
    torch.save(make().state_dict(), tmp_path / "net.pth")
    assert main(["convert", "generator", f"{tmp_path}/net.pth", "-o", f"{tmp_path}/out.safetensors"]) == 2
    shown = capsys.readouterr()
    assert part in shown.err and shown.err.count("\n") == 1 and not shown.out
    assert part in refused(tmp_path / "net.pth")


def test_from_the_file_to_figures(tmp_path, photographs, capsys):
    """33x33, which the deepest level cannot divide."""
    (tmp_path / "set").mkdir()
    shutil.copy(photographs / "c.png", tmp_path / "set")
    torch.save(randomised(TorchUNet()).state_dict(), tmp_path / "net.pth")
    out = tmp_path / "out.safetensors"
    assert main(["convert", "generator", f"{tmp_path}/net.pth", "-o", str(out), "--name", "grey to colour"]) == 0
    assert "unet, pix2pix_unet, sha256" in capsys.readouterr().out
    command = ["evaluate", "--checkpoint", str(out), "--set", f"{tmp_path}/set", "--input", "grey", "--lpips"]
    assert main([*command, "--json", f"{tmp_path}/f.json"]) == 0
    assert "grey to colour" in capsys.readouterr().out
    control, method = json.loads((tmp_path / "f.json").read_text())["methods"]
    assert method["config"]["generator"]["inference_norm"] == "batch" and control["name"] == "input"
    assert method["sets"]["set"]["images"].keys() == {"c.png"}


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("levels", 10**6, "generator.levels=1000000 in a file of"),
        ("levels", 40, "its config is damaged"),
        ("levels", 5.5, "its config is damaged"),
        ("levels", 6, "does not fit its config"),
        ("norm", "instance", "does not fit its config"),
        ("inference_norm", "wrong", "its config is damaged"),
    ],
)
def test_a_config_made_to_harm_is_refused(tmp_path, unet, field, value, part):
    path, stated = unet, read_metadata(unet, "")
    config = json.loads(stated["config"])
    config["generator"][field] = value
    save_file(load_file(path), tmp_path / "x.safetensors", metadata=stated | {"config": json.dumps(config)})
    assert part in refusal(load_generator, tmp_path / "x.safetensors", field="")
