"""FID's Inception: where `srgan convert inception` puts it, and one line of advice for every file that is another."""

import numpy as np
import pytest
from running import refusal
from safetensors.numpy import save_file
from torch_networks import random_inception

from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.weights.inception_file import load_inception
from srgan_jax.weights.tensors import read_metadata, sha256

VARIANCE, KERNEL = "Mixed_7c.branch_pool.bn.running_var", "Mixed_6c.branch7x7_2.conv.weight"


@pytest.fixture(scope="module")
def state():
    return {name: tensor.numpy() for name, tensor in random_inception().state_dict().items()}


@pytest.fixture(scope="module")
def source(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "inception.safetensors"
    save_file(state, path)
    return path


def test_it_goes_into_the_cache_with_its_origin(source, state, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["convert", "inception", str(source)]) == 0
    output = tmp_path / "srgan_jax" / "inception_fid.safetensors"
    printed = f"{output}: inception_fid, tensorflow 2015-12-05, sha256 {sha256(output)}\n"
    assert capsys.readouterr().out == printed
    stated = read_metadata(output, "")
    assert (stated["source"], stated["source_sha256"]) == (source.name, sha256(source)) and "299x299" in stated["input"]
    params = load_inception(output, "")
    assert len(params) == 94 and sum(layer["bias"].size for layer in params.values()) == 17_216
    place = f"{output} is there already; give --overwrite"
    assert place in refusal(capsys, ["convert", "inception", str(source)])
    assert main(["convert", "inception", str(source), "--overwrite"]) == 0
    again = ["convert", "inception", str(output), "-o", str(tmp_path / "twice.safetensors")]
    assert "holds no Conv2d_1a_3x3.bn.bias, so not the Inception of FID" in refusal(capsys, again)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            {"fc.weight": np.zeros((1000, 2048), np.float32)},
            "fc.weight is float32[1000, 2048], the Inception of FID",
        ),
        ({"fc.weight": None}, "holds no fc.weight, so not the Inception of FID"),
        ({KERNEL: None}, f"holds no {KERNEL}"),
        ({KERNEL: np.zeros((160, 160, 7, 1), np.float32)}, f"{KERNEL} is float32[160, 160, 7, 1]"),
        ({VARIANCE: np.zeros(192, np.int32)}, f"{VARIANCE} is int32[192]"),
        ({VARIANCE: np.full(192, -1, np.float32)}, f"{VARIANCE} has a variance below 0; fetch the file again"),
        ({VARIANCE: np.full(192, np.nan, np.float32)}, f"{VARIANCE} holds NaN or infinity"),
    ],
)
def test_other_networks_are_refused(state, tmp_path, capsys, change, part):
    path, output = tmp_path / "other.safetensors", tmp_path / "out.safetensors"
    save_file({name: array for name, array in (state | change).items() if array is not None}, path)
    line = refusal(capsys, ["convert", "inception", str(path), "-o", str(output)])
    assert f"SOURCE={path}: " in line and part in line and not output.exists()


def test_other_bad_input(source, tmp_path, capsys):
    (tmp_path / "half.safetensors").write_bytes(source.read_bytes()[:1_000_000])
    command = ["convert", "inception", f"{tmp_path}/half.safetensors", "-o"]
    assert "cannot be read as .safetensors" in refusal(capsys, [*command, f"{tmp_path}/out.safetensors"])
    assert "-o: out.npz: weights are written as .safetensors" in refusal(capsys, [*command, "out.npz"])
    with pytest.raises(UserError, match="states network None, not inception_fid; `srgan convert inception` writes it"):
        load_inception(source, "--fid")
