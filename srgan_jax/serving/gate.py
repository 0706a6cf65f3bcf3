"""What a browser may ask of the server: the page, an upload, an answer, its files; nothing else that gradio offers."""

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/gradio_api"
FILE = f"{API}/file="
JOIN = f"{API}/queue/join"
UPLOAD = f"{API}/upload"
PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", f"{API}/upload_progress", f"{API}/queue/data"}
BELOW = ("/assets/", "/static/", f"{API}/heartbeat/")
POSTS = {JOIN, UPLOAD, f"{API}/cancel", f"{API}/reset"}
BODY = 1 << 16  # bytes of any request but an upload
HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def gate(app: App, folder: Path, *, upload: int, stored: int) -> App:
    """An ASGI application: `app`, of which only what the page needs can be reached.

    upload: bytes of a request that brings a file. stored: bytes that all files in `folder` may have. Of files, those
    below `folder` alone are given, or may be named by a request. What another site's page has the browser send is
    refused.
    """
    from starlette.requests import ClientDisconnect  # it comes with gradio, which is no requirement

    folder, arriving, came = folder.resolve(), 0, 0  # bytes of uploads under way; of all that ever came

    async def gated(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal arriving, came
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        path, method = scope["path"], scope["method"]
        headers = dict(scope["headers"])
        length, origin = headers.get(b"content-length", b""), headers.get(b"origin")

        async def sent(message: Scope) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        async def refuse(status: int, sentence: str) -> None:
            kind = [(b"content-type", b"text/plain; charset=utf-8")]
            await sent({"type": "http.response.start", "status": status, "headers": kind})
            await sent({"type": "http.response.body", "body": sentence.encode()})

        if method == "POST" and path in POSTS:
            if origin and origin.partition(b"://")[2] not in (headers.get(b"host"), headers.get(b"x-forwarded-host")):
                return await refuse(403, "The request comes from another site's page.")
            if not length.isdigit() or b"transfer-encoding" in headers:  # which would count, and not the length
                return await refuse(411, "The request does not say how long it is.")
            if int(length) > (upload if path == UPLOAD else BODY):
                return await refuse(413, f"The request is larger than the {upload / 1e6:g} MB that are taken here.")
            if path == UPLOAD:
                room = stored - arriving - sum(size for _, size, _ in files(folder))
                if room < int(length):
                    return await refuse(503, "There is no room for more files now: try again in some minutes.")
                end, own = came + room, 0  # what others bring meanwhile takes of the same room

                async def counted() -> Scope:
                    nonlocal arriving, came, own
                    message = await receive()
                    size = len(message.get("body", b""))
                    own, arriving, came = own + size, arriving + size, came + size
                    return message if came <= end else {"type": "http.disconnect"}

                try:
                    return await app(scope, counted, sent)
                except ClientDisconnect:  # or is taken to have gone; sweep removes what came
                    return None
                finally:
                    arriving -= own
            if path == JOIN:
                receive, body = await read(receive)
                if not all(within(folder, name) for name in named(body)):
                    return await refuse(400, '{"detail": "The file is not here, or no longer: choose it again."}')
        elif method not in ("GET", "HEAD") or not (
            path in PAGES
            or path.startswith(BELOW)
            or (path.startswith(FILE) and within(folder, path.removeprefix(FILE)))
        ):
            return await refuse(404, "There is nothing here.")
        await app(scope, receive, sent)

    return gated


async def read(receive: Receive) -> tuple[Receive, bytes]:
    """(a receive that gives the same again, the body)."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    again = iter(messages)

    async def replayed() -> Scope:
        return next(again, None) or await receive()

    return replayed, b"".join(message.get("body", b"") for message in messages)


def named(body: bytes) -> Iterator[Any]:
    """Whatever stands under the key "path" in the JSON."""
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        yield None
        return
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "path" in each:
                yield each["path"]
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def within(folder: Path, name: Any) -> bool:
    """Whether it is the path of a file below the folder; no URL is."""
    try:
        path = Path(name)
        return path.is_absolute() and path.resolve().is_relative_to(folder) and path.is_file()
    except (TypeError, ValueError, OSError):
        return False


def files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """(path, bytes, time of the last change) of every file below the folder; others may be removing them."""
    for root, _, names in os.walk(folder):
        for path in (Path(root, name) for name in names):
            with suppress(OSError):
                state = path.lstat()
                yield path, state.st_size, max(state.st_mtime, state.st_ctime)


def sweep(folder: Path, seconds: float) -> None:
    """Removes what is older, and folders that have become empty."""
    for path, _, changed in list(files(folder)):
        if changed < time.time() - seconds:
            path.unlink(missing_ok=True)
            if path.parent != folder:
                with suppress(OSError):  # another file is there, or it is gone
                    path.parent.rmdir()
