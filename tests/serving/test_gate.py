"""What passes the gate, by a server behind it that says yes to everything."""

import asyncio
import json
import os
import sys
import threading
import time

import pytest
from starlette.requests import ClientDisconnect

from srgan_jax.serving.answer import Limits
from srgan_jax.serving.gate import BODY, JOIN, UPLOAD, files, gate, sweep
from srgan_jax.serving.page import KEPT, clean


@pytest.fixture
def ask(tmp_path):
    """ask(method, path, body, length) -> status, or the body that arrived behind the gate."""

    async def app(scope, receive, send):
        body = b""
        while scope["method"] == "POST":
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    gated = gate(app, tmp_path, upload=1000, stored=5000)

    def ask(method, path, body=b"", length=None):
        parts = [body[: len(body) // 2], body[len(body) // 2 :]]
        sent = []

        async def receive():
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message):
            sent.append(message)

        headers = [(b"content-length", str(len(body)).encode())] if length is None else length
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        asyncio.run(gated(scope, receive, send))
        given = dict(sent[0]["headers"])
        policy = given[b"content-security-policy"].split(b"; ")
        assert {b"default-src 'self'", b"frame-ancestors 'none'", b"form-action 'none'"} <= set(policy)
        assert (given[b"x-content-type-options"], given[b"referrer-policy"]) == (b"nosniff", b"no-referrer")
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    return ask


def test_the_page_and_its_files_alone_are_given(ask, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"x")
    (tmp_path / "out").symlink_to("/etc/passwd")
    given = ["/", "/config", "/assets/a.js", "/gradio_api/queue/data", f"/gradio_api/file={tmp_path}/a/b.png"]
    assert [ask("GET", path)[0] for path in given] == [200] * len(given)
    for path in [
        "/docs",
        "/openapi.json",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/monitoring",
        "/gradio_api/runs",
        "/gradio_api/file=/etc/passwd",
        f"/gradio_api/file={tmp_path}/../../etc/passwd",
        f"/gradio_api/file={tmp_path}/out",
        f"/gradio_api/file={tmp_path}/a",
        "/gradio_api/file=a/b.png",
        "/gradio_api/file=http://127.0.0.1/a.png",
        "/gradio_api/file=\0",
        "/gradio_api/file=" + "a/" * 9000,
    ]:
        status, said = ask("GET", path)
        assert status == 404 and b"passwd" not in said, path
    for method, path in [
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/"),
        ("PUT", "/"),
        ("POST", "/gradio_api/info"),
    ]:
        assert ask(method, path)[0] == 404


def test_a_request_names_no_other_file_and_no_address(ask, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")

    def join(*data):
        return ask("POST", JOIN, json.dumps({"data": data, "session_hash": "x"}).encode())

    good = {"path": f"{tmp_path}/a.png", "meta": {"_type": "gradio.FileData"}}
    status, arrived = join(good, "small")
    assert status == 200 and json.loads(arrived)["data"] == [good, "small"]
    for path in ["/etc/passwd", "http://127.0.0.1/a.png", "a.png", "", 3, None, {"path": 3}, f"{tmp_path}/b.png"]:
        assert join(good, {"value": [good | {"path": path}]})[0] == 400, path
    assert ask("POST", JOIN, b"{")[0] == 400 and ask("POST", JOIN, b"[" * 50_000)[0] == 400


def test_lengths_are_limited(ask, tmp_path):
    assert ask("POST", UPLOAD, b"x" * 1000) == (200, b"x" * 1000)
    assert ask("POST", UPLOAD, b"x" * 1001)[0] == 413 and ask("POST", JOIN, b" " * (BODY + 1))[0] == 413
    for length in ([], [(b"content-length", b"-1")], [(b"content-length", b"")]):
        assert ask("POST", UPLOAD, b"x", length)[0] == 411
    (tmp_path / "kept").write_bytes(b"x" * 5001)
    assert ask("POST", UPLOAD, b"x")[0] == 503


@pytest.mark.parametrize("path", [UPLOAD, JOIN])
def test_a_length_that_does_not_count_is_refused(ask, path):
    """A server takes the chunks, however long, where it is told both."""
    assert ask("POST", path, b"{}", [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")])[0] == 411


def test_other_sites_pages_can_send_nothing(ask):
    def post(*headers):
        return ask("POST", UPLOAD, b"x", [(b"content-length", b"1"), (b"host", b"127.0.0.1:7860"), *headers])[0]

    assert post((b"origin", b"http://127.0.0.1:7860")) == 200
    for origin in (b"https://elsewhere.example", b"http://127.0.0.1:8000", b"null", b"127.0.0.1:7860"):
        assert post((b"origin", origin)) == 403
    forwarded = (b"x-forwarded-host", b"pictures.example")
    assert post((b"origin", b"https://pictures.example"), forwarded) == 200


def test_uploads_under_way_count_as_stored(tmp_path):
    async def main():
        go_on, statuses = asyncio.Event(), []

        async def app(scope, receive, send):
            await receive()
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def receive():
            return {"type": "http.request", "body": b"x" * 1000, "more_body": False}

        async def send(message):
            if "status" in message:
                statuses.append(message["status"])

        gated = gate(app, tmp_path, upload=1000, stored=2000)
        scope = {"type": "http", "method": "POST", "path": UPLOAD, "headers": [(b"content-length", b"1000")]}
        asked = [asyncio.create_task(gated(scope, receive, send)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert statuses == [503]
        go_on.set()
        await asyncio.gather(*asked)
        await gated(scope, receive, send)
        assert statuses == [503, 200, 200, 200]

    asyncio.run(main())


def test_uploads_that_began_while_there_was_room_for_each_do_not_all_come(tmp_path):
    async def main():
        go_on, statuses = asyncio.Event(), []

        async def app(scope, receive, send):
            await go_on.wait()
            if (await receive())["type"] == "http.disconnect":
                raise ClientDisconnect
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def receive():
            return {"type": "http.request", "body": b"x" * 1000, "more_body": False}

        async def send(message):
            statuses.append(message["status"])

        gated = gate(app, tmp_path, upload=1000, stored=2500)
        scope = {"type": "http", "method": "POST", "path": UPLOAD, "headers": [(b"content-length", b"1000")]}
        asked = [asyncio.create_task(gated(scope, receive, send)) for _ in range(5)]
        await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(*asked)
        assert statuses == [200, 200]
        await gated(scope, receive, send)
        assert statuses == [200, 200, 200]  # nothing is stored, and nothing under way

    asyncio.run(main())


def test_what_is_old_is_removed_and_what_is_young_is_kept(tmp_path):
    for name in ("old/a", "old/b", "both/a", "both/young"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    sweep(tmp_path, 60)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4
    os.utime(tmp_path / "both" / "young", (4e9, 4e9))
    sweep(tmp_path, -1)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["both", "young"]


def test_files_are_listed_while_others_remove_them(tmp_path):
    def uploads():
        for number in range(1000):
            (tmp_path / f"{number}").mkdir()
            (tmp_path / f"{number}" / "a.png").touch()
            sweep(tmp_path, -1)

    other = threading.Thread(target=uploads)
    other.start()
    while other.is_alive():
        assert all(path.name == "a.png" for path, *_ in files(tmp_path))
    other.join()
    assert list(tmp_path.iterdir()) == []


def test_results_go_before_uploads(tmp_path, monkeypatch):
    """A picture that waits must still be there when its turn comes."""
    for folder in ("made/token", "upload"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").touch()
    later, slept = time.time() + KEPT + 60, []
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "sleep", lambda seconds: slept.append(seconds) if not slept else sys.exit())
    with pytest.raises(SystemExit):
        clean(tmp_path, Limits(upload=1, input_pixels=1, output_pixels=1, queue=10, seconds=300))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "upload" / "a.png"]
