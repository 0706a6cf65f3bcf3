"""`srgan serve` as a process of its own, by a browser and by hand-made requests."""

import http.client
import importlib.util
import json
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import spawn
from small_weights import small_weights

from srgan_jax.__main__ import main
from srgan_jax.data.images import read_image
from srgan_jax.library import load, upscale

pytestmark = pytest.mark.slow
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed (pip install gradio)"
)
LIMITS = ["--max-upload", "0.1", "--max-input", "0.09", "--max-queue", "2", "--max-seconds", "60"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {scale: small_weights(folder / f"{scale}.safetensors", f"small x{scale}", scale) for scale in (2, 4)}


@pytest.fixture(scope="module")
def server(tmp_path_factory, weights):
    """(its address, its temporary folder); it asks nobody else, ends by SIGTERM and leaves nothing."""
    temporary = tmp_path_factory.mktemp("temporary")
    outside = socket.create_server(("127.0.0.1", 0))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            patch.setenv(name, f"http://127.0.0.1:{outside.getsockname()[1]}")
        patch.setenv("TMPDIR", str(temporary))
        patch.setenv("GRADIO_ALLOWED_PATHS", "/")
        process = spawn(["serve", "--checkpoint", *map(str, weights.values()), "--port", "0", *LIMITS])
    line = ""
    while not line.startswith("http"):
        line = process.stdout.readline()
        assert line.startswith(("http", "warning: not offered")), line + process.stdout.read()
    (folder,) = temporary.glob("srgan_serve_*")
    yield line.split()[0], folder
    with outside, pytest.raises(TimeoutError):
        outside.settimeout(0.2)
        outside.accept()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and list(temporary.iterdir()) == []
    # gradio tells the terminal, and nobody else, of a request that its page cannot make
    assert said.count("Traceback") == said.count("in the list of choices: [") and ("Traceback" in said or said == "")


def wait(condition, seconds: float = 60):
    """What the condition gives once that is something."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return result


@pytest.fixture
def page(browser, server):
    """choose(file) and said() on a fresh page; afterwards nothing was asked of anybody else."""
    address = server[0]
    browser.get_log("performance")
    browser.get(address)
    wait(lambda: browser.find_elements("css selector", "#start"))

    class Page:
        def find(self, selector):
            return wait(lambda: browser.find_elements("css selector", selector))

        def choose(self, path):
            self.find("#upload input[type=file]")[0].send_keys(str(path))

        def start(self):
            self.find("#start")[0].click()

        def said(self):
            return wait(lambda: self.find("#said textarea")[0].get_attribute("value"))

    yield Page()
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 5 and all(url.startswith((address, "data:", "blob:")) for url in asked)


@needs_gradio
def test_a_picture_goes_up_and_the_enlarged_one_comes_down(page, browser, server, weights, tmp_path):
    from selenium.webdriver import ActionChains

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(tmp_path / "my photo.png")
    page.find("#weights input")[0].click()
    small = ["small x2", "small x4"]
    wait(lambda: [each.text.strip("✓\n ") for each in page.find("#weights [role=option]")][-2:] == small)
    page.find("#weights [role=option]")[-2].click()
    page.choose(tmp_path / "my photo.png")
    wait(lambda: "my photo" in page.find("#upload")[0].text)
    page.start()
    assert page.said() == "120x90 to 240x180 by small x2."
    wait(lambda: len(page.find("#slider img")) == 2)
    sizes = "return [...document.querySelectorAll('#slider img')].map(i => [i.naturalWidth, i.naturalHeight])"
    wait(lambda: browser.execute_script(sizes) == [[240, 180], [240, 180]])
    link = page.find("#download a[href*='file=']")[0].get_attribute("href")
    (tmp_path / "down.png").write_bytes(urllib.request.urlopen(link).read())
    assert link.endswith("my%20photo_x2.png") or link.endswith("my photo_x2.png")
    expected = upscale(read_image(tmp_path / "my photo.png"), load(weights[2]))
    np.testing.assert_array_equal(read_image(tmp_path / "down.png"), expected)
    over = page.find("#slider img.fixed")[0]
    clip = over.value_of_css_property("clip-path")
    handle = page.find("#slider [data-testid=slider] .icon-wrap")[0]
    ActionChains(browser).move_to_element(handle).click_and_hold().move_by_offset(-60, 0).release().perform()
    wait(lambda: over.value_of_css_property("clip-path") != clip)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@needs_gradio
def test_files_that_cannot_be_used_are_answered_by_a_sentence(page, browser, tmp_path):
    page.start()
    assert page.said() == "Choose a picture first."
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("1", (301, 300)).save(tmp_path / "wide.png")
    for name, sentence in [
        (
            "broken.png",
            "This file cannot be used: not an image that can be read; "
            "PNG, JPEG, TIFF, WebP, AVIF, GIF, BMP, PPM and TGA are.",
        ),
        ("wide.png", "This file cannot be used: 301x300 is more than the 90000 pixels allowed."),
    ]:
        page.choose(tmp_path / name)
        wait(lambda name=name: name.split(".")[0] in page.find("#upload")[0].text)
        page.start()
        wait(lambda sentence=sentence: page.said() == sentence)
        page.find("#upload button[aria-label=Clear], #upload button[aria-label='Remove this file']")[0].click()
        page.find("#upload input[type=file]")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(tmp_path / "big.png")
    page.choose(tmp_path / "big.png")
    wait(lambda: "exceed the maximum allowed size" in page.find("[data-testid=toast-body]")[0].text)
    assert "Traceback" not in browser.page_source


def post(address: str, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
    request = urllib.request.Request(address + path.lstrip("/"), body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upload(address: str, content: bytes, name: str = "a.png") -> tuple[int, bytes]:
    part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = part.encode() + content + b"\r\n--x--\r\n"
    return post(address, "gradio_api/upload", body, "multipart/form-data; boundary=x")


def join(address: str, *data) -> tuple[int, bytes]:
    (function,) = json.load(urllib.request.urlopen(address + "config"))["dependencies"]
    body = {"data": data, "fn_index": function["id"], "session_hash": "test", "trigger_id": None}
    return post(address, "gradio_api/queue/join", json.dumps(body).encode())


def last_of(address: str) -> dict:
    """What the server says at last of the session's pictures."""
    with urllib.request.urlopen(address + "gradio_api/queue/data?session_hash=test") as stream:
        lines = [json.loads(line.removeprefix(b"data: ")) for line in stream if line.startswith(b"data: ")]
    return next(line for line in reversed(lines) if line["msg"] == "process_completed")


@needs_gradio
def test_no_path_and_no_address_is_taken_and_nothing_else_is_offered(server, tmp_path):
    address, folder = server
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        for name in [str(secret), f"http://127.0.0.1:{elsewhere.getsockname()[1]}/a.png"]:
            file = {"path": name, "meta": {"_type": "gradio.FileData"}}
            for data in [(file, "small x2"), (None, file)]:
                status, said = join(address, *data)
                assert status == 400 and b"no longer: choose it again" in said
            status, said = post(address, "gradio_api/run/enlarge", json.dumps({"data": [file]}).encode())
            assert status == 404
        elsewhere.settimeout(0.2)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
    for path in ["docs", "openapi.json", "gradio_api/info", "gradio_api/openapi.json", f"gradio_api/file={secret}"]:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)
    before = set(folder.rglob("*"))
    assert upload(address, b"x" * 200_000)[0] == 413 and set(folder.rglob("*")) == before
    assert "api" not in json.load(urllib.request.urlopen(address + "config"))["footer_links"]


@needs_gradio
def test_names_of_uploads_stay_in_the_folder_and_unknown_weights_are_refused(server, tmp_path):
    address, folder = server
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    status, said = upload(address, (tmp_path / "a.png").read_bytes(), "../../../<b>\u202e&.png")
    (name,) = json.loads(said)
    assert status == 200 and Path(name).is_relative_to(folder) and Path(name).is_file()
    file = {"path": name, "meta": {"_type": "gradio.FileData"}}
    assert join(address, file, "/etc/passwd")[0] == 200
    answer = last_of(address)
    assert not answer["success"] and "Traceback" not in json.dumps(answer)
    assert join(address, file, "small x4")[0] == 200
    assert last_of(address)["output"]["data"][2] == "8x8 to 32x32 by small x4."


@needs_gradio
def test_an_upload_that_is_broken_off_is_no_fault_of_the_server(server):
    """Which would tell the terminal, and `server` looks at that."""
    address, _ = server
    host, port = address.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(1000)
        )
        time.sleep(0.3)
    assert upload(address, b"x" * 1000)[0] == 200


@needs_gradio
def test_the_queue_is_limited(server, tmp_path):
    address, _ = server
    Image.new("L", (300, 300)).save(tmp_path / "a.png")
    (name,) = json.loads(upload(address, (tmp_path / "a.png").read_bytes())[1])
    file = {"path": name, "meta": {"_type": "gradio.FileData"}}
    answers = [join(address, file, "small x4") for _ in range(8)]
    assert answers[0][0] == 200 and (503, b"Queue is full. Max size is 2") in [(a, s[11:39]) for a, s in answers]
    last_of(address)


@needs_gradio
def test_it_listens_on_this_machine_alone(server):
    port = int(server[0].rsplit(":", 1)[1].strip("/"))
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    for address in own | {"127.0.0.2"}:  # Linux has all of 127/8, and who listens everywhere is there
        with pytest.raises(OSError):
            http.client.HTTPConnection(address, port, timeout=2).connect()


@needs_gradio
@pytest.mark.parametrize("again", [False, True])
def test_stopped_at_work_it_leaves_nothing(tmp_path, monkeypatch, again):
    Image.new("L", (3600, 480)).save(tmp_path / "a.png")  # several tiles
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", f"{tmp_path}/temporary")
    process = spawn(["serve", "--checkpoint", "srgan_small", "--port", "0"])
    address = next(line for line in process.stdout if line.startswith("http")).split()[0]
    (name,) = json.loads(upload(address, (tmp_path / "a.png").read_bytes())[1])
    assert join(address, {"path": name, "meta": {"_type": "gradio.FileData"}}, "srgan_small")[0] == 200
    with urllib.request.urlopen(address + "gradio_api/queue/data?session_hash=test") as stream:
        assert any(b'"process_starts"' in line for line in stream)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "finishing the tile at work (again: stop at once)\n"
    if again:
        process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "" and process.returncode == (130 if again else 0)
    assert list((tmp_path / "temporary").iterdir()) == []


def refused(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["serve", *arguments]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if not each.startswith("warning: not offered")]
    return line


@needs_gradio
def test_bad_arguments_are_one_line(capsys, weights, tmp_path):
    checkpoint = ["--checkpoint", str(weights[4])]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused(capsys, *checkpoint, "--port", str(taken.getsockname()[1]))
    assert "nothing can listen there" in line
    assert "--port=70000" in refused(capsys, *checkpoint, "--port", "70000")
    assert "--max-seconds=0.0: give a number above 0" in refused(capsys, *checkpoint, "--max-seconds", "0")
    assert "--checkpoint" in refused(capsys, "--checkpoint", f"{tmp_path}/no")


def test_without_gradio_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert refused(capsys) == "srgan serve: gradio is not installed; pip install gradio"
