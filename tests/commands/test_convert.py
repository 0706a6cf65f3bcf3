"""srgan convert: what it writes and prints, and one line with exit code 2 for what it cannot convert."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest
from running import refusal
from safetensors.numpy import save_file

from srgan_jax.__main__ import main
from srgan_jax.weights import download
from srgan_jax.weights.tensors import sha256
from srgan_jax.weights.vgg_file import load_vgg, random_vgg


def arrays(layer="1.2"):
    params = random_vgg("vgg19", layer, seed=0)
    return {f"{conv}/{kind}": array for conv, layer in params.items() for kind, array in layer.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "srgan_jax"


@pytest.fixture
def source(tmp_path):
    np.savez(tmp_path / "vgg.npz", **arrays())
    return tmp_path / "vgg.npz"


def test_vgg_is_written_and_named(tmp_path, capsys, source):
    output = tmp_path / "new" / "vgg19.safetensors"
    assert main(["convert", "vgg19", str(source), "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{output}: vgg19, caffe, up to layer 1.2, sha256 {sha256(output)}\n"
    found = load_vgg(output, network="vgg19", layer="1.2", origin="caffe")
    np.testing.assert_array_equal(found["block1_conv2"]["kernel"], arrays()["block1_conv2/kernel"])


def test_what_is_there_is_replaced_only_on_request(tmp_path, capsys, source):
    output = tmp_path / "vgg19.safetensors"
    output.write_text("precious")
    command = ["convert", "vgg19", str(source), "-o", str(output)]
    assert "is there already; give --overwrite" in refusal(capsys, command)
    assert output.read_text() == "precious"
    to_itself = ["convert", "vgg19", str(source), "-o", str(source), "--overwrite"]
    assert "would replace what is read" in refusal(capsys, to_itself)
    assert main([*command, "--overwrite"]) == 0 and load_vgg(output, network="vgg19", layer="1.2", origin="caffe")


def test_without_a_name_the_cache_has_it_under_its_origin(tmp_path, capsys, cache, source):
    torchvision = {"features.0.weight": np.ones((64, 3, 3, 3), np.float32), "features.0.bias": np.ones(64, np.float32)}
    save_file(torchvision, tmp_path / "model.safetensors")
    for _ in range(2):
        assert main(["convert", "vgg19", str(source)]) == 0
        assert main(["convert", "vgg19", str(tmp_path / "model.safetensors")]) == 0
    assert sorted(p.name for p in cache.iterdir()) == ["vgg19_caffe.safetensors", "vgg19_torchvision.safetensors"]


def test_a_fuller_file_is_replaced_on_request_alone(tmp_path, capsys, cache, source):
    np.savez(tmp_path / "full.npz", **arrays("2.2"))
    file, full, part = cache / "vgg19_caffe.safetensors", ["convert", "vgg19", str(tmp_path / "full.npz")], str(source)
    for _ in range(2):  # the same source again changes nothing
        assert main(full) == 0
    before = file.read_bytes()
    assert f"{file} is there already, of another source; give --overwrite" in refusal(capsys, [*full[:2], part])
    assert file.read_bytes() == before and list(cache.iterdir()) == [file]
    assert main([*full[:2], part, "--overwrite"]) == 0 and file.read_bytes() != before
    file.write_text("damaged")
    assert "--overwrite" in refusal(capsys, full) and main([*full, "--overwrite"]) == 0
    assert file.read_bytes() == before and list(cache.iterdir()) == [file]


def test_the_origin_can_be_said(tmp_path, capsys, cache):
    weights = {"features.0.weight": np.ones((64, 3, 3, 3), np.float32), "features.0.bias": np.ones(64, np.float32)}
    save_file(weights, tmp_path / "vgg19-d01eb7cb.safetensors")
    command = ["convert", "vgg19", str(tmp_path / "vgg19-d01eb7cb.safetensors"), "--origin"]
    assert main([*command, "caffe"]) == 0 and main([*command, "torchvision"]) == 0
    assert sorted(p.name for p in cache.iterdir()) == ["vgg19_caffe.safetensors", "vgg19_torchvision.safetensors"]
    contradictory = ["convert", "vgg19", "--download", "torchvision", "--origin", "caffe"]
    assert "--origin=caffe: --download=torchvision fetches the other" in refusal(capsys, contradictory)


def test_vgg19_can_be_downloaded(tmp_path, monkeypatch, capsys, cache):
    """From a server on this machine; the real addresses and digests stand in weights/download.py."""
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        for name, array in arrays().items():
            file[name] = array
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        content = (tmp_path / "notop.h5").read_bytes()
        address = f"http://127.0.0.1:{server.server_port}/notop.h5"
        remote = download.Remote(address, len(content), "md5", hashlib.md5(content).hexdigest())
        monkeypatch.setitem(download.VGG, ("vgg19", "caffe"), remote)
        assert main(["convert", "vgg19", "--download"]) == 0
        server.shutdown()
    assert capsys.readouterr().out.startswith(f"{cache / 'vgg19_caffe.safetensors'}: vgg19, caffe, up to layer 1.2")
    assert load_vgg(cache / "vgg19_caffe.safetensors", network="vgg19", layer="1.2", origin="caffe")
    (cache / "downloads" / "notop.h5").unlink()
    assert "0 of" in refusal(capsys, ["convert", "vgg19", "--download"])


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".pth", ".safetensors", ".ckpt", ".tar.gz", ".whl"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>" * 100])
def test_corrupt_files_are_named(tmp_path, capsys, suffix, content):
    path, output = tmp_path / f"vgg{suffix}", tmp_path / "out.safetensors"
    path.write_bytes(content)
    assert f"SOURCE={path}: " in refusal(capsys, ["convert", "vgg16", str(path), "-o", str(output)])
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["vgg19"], ["SOURCE", "--download"]),
        (["vgg19", "/no/vgg.npz"], ["SOURCE=/no/vgg.npz", "no such file"]),
        (["vgg19", "SOURCE", "--download"], ["SOURCE=", "--download", "one of the two"]),
        (["vgg19", "SOURCE", "-o", "out.npz"], ["-o: out.npz", ".safetensors"]),
        (["vgg19", "SOURCE", "-o", "/proc/out.safetensors"], ["/proc/out.safetensors", "cannot be written"]),
        (["vgg19", "TRUNCATED"], ["SOURCE=", "cannot be read as .npz"]),
        (["vgg16", "VGG19"], ["SOURCE=", "holds vgg19; give the weights of vgg16"]),
        (["vgg19", "RESNET"], ["SOURCE=", "names no convolution of VGG"]),
        (["generator", "--fetch", "none", "-o", "out.safetensors"], ["--fetch=none", "krasserm-srgan"]),
        (["vgg19", "/no/vgg.npz", "-o", "RESNET", "--overwrite"], ["SOURCE=/no/vgg.npz", "no such file"]),
        (["vgg19", "~nosuchuser/vgg.npz"], ["SOURCE=~nosuchuser/vgg.npz", "home directory"]),
        (["generator", "~nosuchuser/x.pth", "-o", "out.safetensors"], ["SOURCE=~nosuchuser/x.pth", "home directory"]),
        (["vgg19", "SOURCE", "-o", "x" * 300 + ".safetensors"], ["xxx.safetensors: File name too long; give a path"]),
        (["generator", "LOOP", "-o", "LOOP"], ["would replace what is converted"]),
        (["generator", "LOOP", "-o", "out.safetensors"], ["SOURCE=", "Too many levels of symbolic links"]),
        (["generator", "ODD", "-o", "out.safetensors"], [r"its first tensor is odd\n\x1b[31mname"]),
        (["export", "/no/run", "--to", "basicsr", "-o", "out.pth"], ["RUN=/no/run"]),
    ],
)
def test_other_bad_input(tmp_path, capsys, source, arguments, parts):
    np.savez(tmp_path / "vgg19.npz", **arrays("3.4"))
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, tmp_path / "resnet.safetensors")
    (tmp_path / "cut.npz").write_bytes(source.read_bytes()[:1000])
    names = {"SOURCE": source, "TRUNCATED": tmp_path / "cut.npz", "VGG19": tmp_path / "vgg19.npz"}
    names |= {name: tmp_path / f"{name.lower()}.safetensors" for name in ("RESNET", "ODD", "LOOP")}
    save_file({"odd\n\x1b[31mname": np.zeros(2, np.float32)}, names["ODD"])
    names["LOOP"].symlink_to(names["LOOP"])
    line = refusal(capsys, ["convert", *(str(names.get(argument, argument)) for argument in arguments)])
    assert all(part in line for part in parts), line


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, capsys, source):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert "/proc/none" in refusal(capsys, ["convert", "vgg19", str(source)])
    assert "/proc/none" in refusal(capsys, ["convert", "vgg19", "--download"])


def test_an_error_of_no_file_is_no_bad_input(monkeypatch):
    def bug(_):
        raise OSError("a bug")

    monkeypatch.setattr("srgan_jax.commands.upscale.main", bug)
    with pytest.raises(OSError, match="a bug"):
        main(["upscale"])
