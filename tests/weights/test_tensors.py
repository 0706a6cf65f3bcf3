"""Arrays from every format; files that are damaged, or that would run code, end in one line and do nothing."""

import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from srgan_jax.errors import UserError
from srgan_jax.weights import readers
from srgan_jax.weights.fetch import member
from srgan_jax.weights.readers import READERS
from srgan_jax.weights.tensors import read_metadata, read_tensors, sha256, write_safetensors, write_torch

ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "a/bias": np.ones(3, np.float32)}


def write(folder, suffix, arrays=ARRAYS):
    path = folder / f"weights{suffix}"
    nested = {"a": {name.removeprefix("a/"): array for name, array in arrays.items()}}
    if suffix == ".safetensors":
        save_file(arrays, path)
    elif suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif suffix in (".ckpt", ".pkl"):
        path.write_bytes(pickle.dumps(nested))
    else:
        torch.save({"a": {name: torch.from_numpy(array) for name, array in nested["a"].items()}}, path)
    return path


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_tensors(path, "SOURCE")
    message = str(caught.value)
    assert message.startswith(f"SOURCE={path}: ") and "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize("suffix", READERS)
def test_every_format_gives_the_same(tmp_path, suffix):
    found = read_tensors(write(tmp_path, suffix), "SOURCE")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("damage", ["empty", "text", "half", "tail", "header"])
def test_damaged_files_are_refused(tmp_path, suffix, damage):
    path = write(tmp_path, suffix)
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "text": b"<!DOCTYPE html>" * 100,
        "half": whole[: len(whole) // 2],
        "tail": whole[:-40],
        "header": b"\xff" * 64 + whole[64:],
    }
    path.write_bytes(damaged[damage])
    assert f"cannot be read as {suffix}" in refusal(path)


def test_other_files_are_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.npz")
    assert "not a known kind of weights file; give one of .safetensors, .npz" in refusal(tmp_path / "weights.onnx")
    (tmp_path / "folder.npz").mkdir()
    assert "is no regular file" in refusal(tmp_path / "folder.npz")


def test_finite_numbers_that_float32_does_not_hold_are_refused(tmp_path):
    path = write(tmp_path, ".npz", ARRAYS | {"a/bias": np.array([1, 1e39, 1])})
    assert "a/bias holds NaN or infinity" in refusal(path)


class Unfilled:
    """An array of memory as it was found."""

    def __reduce__(self):
        return np.ndarray, ((1000, 1000), "f4")


def test_more_than_a_file_holds_is_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": Unfilled()}))
    assert "a is [1000, 1000], more than the file holds of it" in refusal(tmp_path / "w.pkl")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("a", (1 << 14, 1 << 14), "f8", chunks=True)
    assert "more than any weights known here" in refusal(tmp_path / "w.h5")


def test_sizes_that_an_archive_states_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LARGEST", 250)
    assert "it states" in refusal(write(tmp_path, ".npz"))
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("in/weights.npz", bytes(301))
    with pytest.raises(UserError, match="it states 301 bytes"):
        member(archive, "weights.npz", "SOURCE")


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(tmp_path, suffix, value):
    path = write(tmp_path, suffix, ARRAYS | {"a/bias": np.array([1, value, 1], np.float32)})
    assert "a/bias holds NaN or infinity" in refusal(path)


class Harmful:
    """Unpickled by the usual means, it makes a file at `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".ckpt", ".pkl", ".pth", ".pt", ".tar"])
@pytest.mark.parametrize("inside", [lambda x: x, lambda x: {"a": x}])
def test_code_in_a_pickle_is_not_run(tmp_path, suffix, inside):
    made, path = tmp_path / "made", tmp_path / f"weights{suffix}"
    content = inside(Harmful(made))
    torch.save(content, path) if suffix in (".pth", ".pt", ".tar") else path.write_bytes(pickle.dumps(content))
    refusal(path)
    assert not made.exists()


def test_the_harmful_pickle_is_harmful(tmp_path):
    pickle.loads(pickle.dumps(Harmful(tmp_path / "made"))).close()
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("module", ["numpy", "builtins", "os", "numpy.core.multiarray", "functools"])
def test_pickles_may_ask_for_arrays_only(tmp_path, module):
    name = {"numpy": "load", "builtins": "eval", "os": "system", "functools": "partial"}.get(module, "fromfile")
    (tmp_path / "weights.pkl").write_bytes(f"c{module}\n{name}\n.".encode())
    assert f"the pickle asks for {module}.{name}" in refusal(tmp_path / "weights.pkl")


def test_pickles_in_numpys_files_are_not_run(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.array([Harmful(tmp_path / "made")], dtype=object))
    refusal(tmp_path / "weights.npz")
    assert not (tmp_path / "made").exists()
    np.save(tmp_path / "single.npy", np.zeros(3))
    assert "a single array" in refusal((tmp_path / "single.npy").rename(tmp_path / "single.npz"))


def test_what_is_no_number_is_refused(tmp_path):
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"a": "text"}))
    assert "a holds no array of numbers" in refusal(tmp_path / "weights.pkl")


def test_half_precision_is_read(tmp_path):
    half = {name: array.astype(np.float16) for name, array in ARRAYS.items()}
    assert read_tensors(write(tmp_path, ".npz", half), "")["a/kernel"].dtype == np.float16
    torch.save({"a": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "weights.pth")
    np.testing.assert_array_equal(read_tensors(tmp_path / "weights.pth", "")["a"], np.ones(3, np.float32))


def test_writing(tmp_path):
    path = tmp_path / "new" / "out.safetensors"
    turned = np.arange(6, dtype=np.float64).reshape(2, 3).T  # neither float32 nor in C's order
    write_safetensors(path, {"b": turned, "a": np.float16(2) * np.ones(1, np.float16)}, {"network": "vgg19"})
    found = load_file(path)
    assert list(found) == ["a", "b"] and found["b"].dtype == np.float32
    np.testing.assert_array_equal(found["b"], turned)
    assert read_metadata(path, "") == {"network": "vgg19"} and len(sha256(path)) == 64
    write_safetensors(path, {}, {"source": "caf\udce9.h5"})  # a file's name that is not UTF-8
    assert read_metadata(path, "") == {"source": "caf?.h5"}
    assert [file.name for file in path.parent.iterdir()] == ["out.safetensors"]


def test_metadata_of_what_is_no_safetensors_file(tmp_path):
    with pytest.raises(UserError, match="^SOURCE=.*no such file"):
        read_metadata(tmp_path / "none.safetensors", "SOURCE")
    (tmp_path / "text.safetensors").write_text("text")
    with pytest.raises(UserError, match="^SOURCE=.*cannot be read as .safetensors"):
        read_metadata(tmp_path / "text.safetensors", "SOURCE")
    (tmp_path / "net.pth").write_text("text")
    with pytest.raises(UserError, match="^SOURCE=.*net.pth: is no .safetensors file; `srgan convert` makes"):
        read_metadata(tmp_path / "net.pth", "SOURCE")


def test_a_torch_file_may_be_called_ckpt(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(3.0)}}, tmp_path / "lightning.ckpt")
    np.testing.assert_array_equal(read_tensors(tmp_path / "lightning.ckpt", "FILE")["state_dict/a"], [0, 1, 2])


@pytest.mark.parametrize("text", ["\n<!doctype html>", "version https://git-lfs.github.com/spec/v1\noid sha256:0"])
def test_what_was_fetched_in_place_of_a_torch_file_is_to_be_fetched_again(tmp_path, text):
    (tmp_path / "net.pth").write_text(text)
    with pytest.raises(UserError, match="a web page, or git-lfs' pointer to a file.*; fetch it again"):
        read_tensors(tmp_path / "net.pth", "")


def test_torch_files_hold_tensors_in_the_order_of_their_axes(tmp_path):
    write_torch(tmp_path / "x.pth", "params", {"a": np.zeros((3, 3, 8, 16), np.float32).transpose(3, 2, 0, 1)})
    assert torch.load(tmp_path / "x.pth")["params"]["a"].is_contiguous()
