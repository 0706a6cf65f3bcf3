"""A converted generator wherever a run may stand: evaluate, upscale, a warm start."""

import json

import jax
import numpy as np
import pytest
import torch
from foreign_generators import TorchSRResNet, ours, randomised, refusal
from running import train
from safetensors.numpy import load_file, save_file

from srgan_jax.__main__ import main
from srgan_jax.data.images import read_image
from srgan_jax.training.trained import load_config, load_generator
from srgan_jax.weights.convert_generator import convert_generator
from srgan_jax.weights.generator_file import is_generator_file
from srgan_jax.weights.tensors import read_metadata


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A converted generator of the size that configs/tiny.py has."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.save(randomised(TorchSRResNet(width=8, blocks=1)).state_dict(), folder / "net.pth")
    convert_generator(folder / "net.pth", output=folder / "tiny.safetensors", name="A name", field="")
    return folder / "tiny.safetensors"


def test_upscale_takes_the_file(tmp_path, tiny, photographs):
    arguments = ["upscale", "-i", f"{photographs}/a.png", "-o", f"{tmp_path}/out.png", "--checkpoint", str(tiny)]
    assert main(arguments) == 0
    expected = ours(tiny, read_image(photographs / "a.png")[None] / np.float32(255))[0].clip(0, 1) * 255
    assert np.abs(read_image(tmp_path / "out.png") - expected).max() < 0.51


def test_evaluate_takes_the_file(tmp_path, tiny, capsys):
    assert main(["evaluate", "--checkpoint", str(tiny), "--json", f"{tmp_path}/f.json"]) == 0
    assert "A name" in capsys.readouterr().out
    methods = json.loads((tmp_path / "f.json").read_text())["methods"]
    assert any(method.get("config", {}).get("generator", {}).get("blocks") == 1 for method in methods)


def test_a_run_starts_from_the_file(tmp_path, tiny):
    fields = ["steps=2", "checkpoint.every=2", "validation.every=0", "log.every=2", "optimizer.learning_rate=1e-30"]
    fields += ["generator.first_kernel=9", "generator.last_kernel=9", f"init_from={tiny}"]
    train("tiny", tmp_path / "run", *fields)
    here, there = load_generator(tmp_path / "run", field=""), load_generator(tiny, field="")
    for mine, given in zip(*(jax.tree.leaves(x.variables["params"]) for x in (here, there)), strict=True):
        np.testing.assert_allclose(mine, given, rtol=0, atol=1e-29)
    assert there.step == 0 and there.run == tiny


@pytest.mark.parametrize("metadata", [{}, {"kind": "lpips"}])
def test_a_file_of_something_else_is_refused(tmp_path, tiny, metadata):
    save_file(load_file(tiny), tmp_path / "x.safetensors", metadata=metadata)
    message = refusal(load_generator, tmp_path / "x.safetensors", field="--checkpoint")
    assert message.startswith(f"--checkpoint={tmp_path}/x.safetensors: holds no generator")


@pytest.mark.parametrize("config", ["", "{", "[1]", '{"scale": 4}'])
def test_a_damaged_config_is_refused(tmp_path, tiny, config):
    save_file(load_file(tiny), tmp_path / "x.safetensors", metadata=read_metadata(tiny, "") | {"config": config})
    assert "its config is damaged" in refusal(load_generator, tmp_path / "x.safetensors", field="--checkpoint")


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("generator.blocks", 2, "batch_stats/block_1/norm_0/mean does not fit"),
        ("generator.features", 4, "batch_stats/block_0/norm_0/mean does not fit"),
        ("generator.prelu", "wrong", "its config is damaged"),
        ("generator.name", "wrong", "its config is damaged"),
        ("scale", 8, "params/conv_up_2/bias does not fit"),
        ("scale", 5, "its config is damaged"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, tiny, field, value, part):
    config = load_config(tiny, "")
    config.update_from_flattened_dict({field: value})
    stated = read_metadata(tiny, "") | {"config": json.dumps(config.to_dict())}
    save_file(load_file(tiny), tmp_path / "x.safetensors", metadata=stated)
    assert part in refusal(load_generator, tmp_path / "x.safetensors", field="--checkpoint")


def hostile(folder, tiny, **stated):
    """The refusal of the file with other metadata."""
    save_file(load_file(tiny), folder / "x.safetensors", metadata=read_metadata(tiny, "") | stated)
    return refusal(load_generator, folder / "x.safetensors", field="--checkpoint")


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("blocks", 10**6, "generator.blocks=1000000 in a file of"),
        ("blocks", 1.5, "config is damaged"),
        ("norm_epsilon", -1.0, "generator.norm_epsilon=-1.0: must be greater than 0"),
        ("norm_epsilon", float("nan"), "generator.norm_epsilon=nan: must be greater than 0"),
        ("features", 0, "generator.features=0: must be greater than 0"),
        ("features", 10**400, "config is damaged"),
        ("first_kernel", 10**12 + 1, "does not fit its config"),
        ("first_kernel", "9", "generator.first_kernel=9: must be greater than 0"),
        ("skip", "wrong", "generator.skip='wrong': must be one of"),
    ],
)
def test_a_config_made_to_harm_is_refused(tmp_path, tiny, field, value, part):
    config = json.loads(read_metadata(tiny, "")["config"])
    config["generator"][field] = value
    assert part in hostile(tmp_path, tiny, config=json.dumps(config))


def test_a_config_nested_without_end_is_refused(tmp_path, tiny):
    assert "its config is damaged" in hostile(tmp_path, tiny, config="[" * 100_000)
    assert "its config is damaged" in hostile(tmp_path, tiny, config='{"a":' * 800 + "1" + "}" * 800)


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31mred"])
def test_a_name_that_would_spoil_a_table_is_refused(tmp_path, tiny, name):
    assert f"its name {name!r} cannot be shown" in hostile(tmp_path, tiny, name=name)


def test_weights_are_floating_point_and_become_float32(tmp_path, tiny):
    name, stated = "params/conv_last/kernel", read_metadata(tiny, "")
    for dtype in (np.int32, np.bool_):
        changed = load_file(tiny) | {name: load_file(tiny)[name].astype(dtype)}
        save_file(changed, tmp_path / "x.safetensors", metadata=stated)
        message = refusal(load_generator, tmp_path / "x.safetensors", field="--checkpoint")
        assert f"{name} is {np.dtype(dtype)}, not floating point" in message
    half = {name: array.astype(np.float16) for name, array in load_file(tiny).items()}
    save_file(half, tmp_path / "x.safetensors", metadata=stated)
    loaded = load_generator(tmp_path / "x.safetensors", field="").variables
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}


def test_a_folder_of_such_a_name_is_a_run(tmp_path, tiny):
    assert is_generator_file(tiny) and is_generator_file(tmp_path / "none.safetensors")
    (tmp_path / "run.safetensors").mkdir()
    assert not is_generator_file(tmp_path / "run.safetensors")
    (tmp_path / "run.safetensors" / "config.json").write_text(read_metadata(tiny, "")["config"])
    assert load_config(tmp_path / "run.safetensors", "").generator.blocks == 1


def test_a_truncated_or_missing_file_is_refused(tmp_path, tiny):
    for content in (tiny.read_bytes()[:-100], tiny.read_bytes()[:50], b""):
        (tmp_path / "x.safetensors").write_bytes(content)
        assert "x.safetensors" in refusal(load_generator, tmp_path / "x.safetensors", field="--checkpoint")
    assert "no such file" in refusal(load_generator, tmp_path / "none.safetensors", field="--checkpoint")
