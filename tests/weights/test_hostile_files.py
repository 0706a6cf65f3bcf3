"""Files made to harm: they read other files, unfold without end, or have names that do something to a terminal."""

import errno
import os
import pickle

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from srgan_jax.errors import UserError
from srgan_jax.weights import tensors
from srgan_jax.weights.lpips_file import find_lpips
from srgan_jax.weights.readers import NODES, READERS
from srgan_jax.weights.tensors import read_metadata, read_tensors


def refusal(path, read=read_tensors):
    with pytest.raises(UserError) as caught:
        read(path, "SOURCE")
    message = str(caught.value)
    assert message.startswith(f"SOURCE={path}: ") and message.isprintable() and len(message) < 700
    return message


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_an_h5_file_brings_in_no_other(tmp_path, kind):
    (tmp_path / "secret").write_bytes(np.ones(3, np.float32).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones(3, np.float32)
    with h5py.File(tmp_path / "net.h5", "w") as file:
        if kind == "external":
            file.create_dataset("a/kernel", (3,), np.float32, external=[(tmp_path / "secret", 0, 12)])
        else:
            layout = h5py.VirtualLayout((3,), np.float32)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", (3,))
            file.create_virtual_dataset("a/kernel", layout)
    assert "a/kernel takes its numbers from other files" in refusal(tmp_path / "net.h5")


def nested(depth, make):
    """Small in a pickle, which names each object once; as a tree it has 10**depth leaves."""
    tree = 1.0
    for _ in range(depth):
        tree = make([tree] * 10)
    return {"a": tree}


@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
@pytest.mark.parametrize("depth", [12, 100])
def test_what_unfolds_without_end_is_refused(tmp_path, suffix, depth):
    path, tree = tmp_path / f"net{suffix}", nested(depth, lambda items: dict(zip("abcdefghij", items, strict=True)))
    torch.save(tree, path) if suffix == ".pth" else path.write_bytes(pickle.dumps(tree))
    assert path.stat().st_size < 50_000 and f"nested more than 20 deep, or more than {NODES}" in refusal(path)


def test_lists_are_no_arrays(tmp_path):
    (tmp_path / "net.ckpt").write_bytes(pickle.dumps(nested(12, list)))
    assert "a holds no array of numbers" in refusal(tmp_path / "net.ckpt")


def test_an_expanded_tensor_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(1 << 36)}, tmp_path / "net.pth")
    assert "a is [68719476736], more than the file holds of it" in refusal(tmp_path / "net.pth")


class Object:
    pass


@pytest.mark.parametrize("suffix", [".pth", ".tar", ".npz", ".ckpt"])
def test_no_refusal_says_how_to_load_it_unsafely(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    if suffix == ".npz":
        np.savez(path, a=np.array([Object()], object))
    elif suffix == ".ckpt":
        path.write_bytes(pickle.dumps({"a": Object()}))
    else:
        torch.save({"a": Object()}, path)
    message = refusal(path)
    assert "it holds code or objects, not tensors alone" in message
    assert not any(bad in message for bad in ("fetch it again", "allow_pickle", "weights_only", "trust"))
    torch.save(Object(), path.with_suffix(".pt"))
    assert "give its state_dict as .safetensors" in refusal(path.with_suffix(".pt"))


def test_an_npz_that_is_a_pickle_gets_no_such_advice_either(tmp_path):
    (tmp_path / "net.npz").write_bytes(pickle.dumps(Object()))
    assert "(no zip archive, or cut short)" in refusal(tmp_path / "net.npz")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_every_file_of_torch(tmp_path, dtype):
    state = {"a": torch.tensor([1.0, -2.5], dtype=dtype)}
    save_file(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pth")
    for name in ("net.safetensors", "net.pth"):
        np.testing.assert_array_equal(read_tensors(tmp_path / name, "")["a"], np.float32([1, -2.5]))


@pytest.mark.parametrize(("dtype", "kind"), [(torch.int32, "i"), (torch.bool, "b")])
def test_other_types_stay_what_they_are(tmp_path, dtype, kind):
    torch.save({"a": torch.ones(2, dtype=dtype)}, tmp_path / "net.pth")
    assert read_tensors(tmp_path / "net.pth", "")["a"].dtype.kind == kind
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, tmp_path / "net.pth")
    assert "a holds no array of numbers" in refusal(tmp_path / "net.pth")


@pytest.mark.parametrize("suffix", READERS)
def test_a_pipe_or_folder_is_no_file(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    for name in (f"pipe{suffix}", f"folder{suffix}"):
        assert "is no regular file" in refusal(tmp_path / name)
        assert "is no regular file" in refusal(tmp_path / name, read_metadata)


def test_a_path_that_leads_nowhere(tmp_path, monkeypatch):
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    assert "Too many levels of symbolic links; give a file that can be read" in refusal(tmp_path / "loop.pth")
    assert "File name too long" in refusal(tmp_path / f"{'x' * 300}.pth")
    assert "home directory is not known" in refusal("~nosuchuser/x.pth")
    save_arrays({"a": np.zeros(1, np.float32)}, tmp_path / "net.safetensors")
    monkeypatch.setattr(tensors.os, "access", lambda *_: False)  # root may read anything
    assert "Permission denied; give a file that can be read" in refusal(tmp_path / "net.safetensors")


def test_a_cache_that_cannot_be_looked_into_has_nothing(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", f"/{'x' * 300}")  # OSError, as for one that belongs to somebody else
    with pytest.raises(UserError, match="its weights are not here yet"):
        find_lpips("alex", "--lpips")


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def stop(partial):
        partial.write_text("part")
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(UserError, match="x.safetensors: cannot be written .*No space"):
        tensors._write_whole(tmp_path / "x.safetensors", stop)
    monkeypatch.setattr(tensors.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tensors._write_whole(tmp_path / "x.safetensors", lambda partial: partial.write_text("whole"))
    assert list(tmp_path.iterdir()) == []
