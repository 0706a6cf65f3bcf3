"""The page, by gradio: upload, choose weights, compare, download."""

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from srgan_jax.errors import UserError
from srgan_jax.library import Model
from srgan_jax.serving.answer import MADE, Answer, Limits, Refused, answer
from srgan_jax.serving.gate import App, gate, sweep

Progress = Callable[[float], None]
Enlarge = Callable[[Path, str, Progress], Answer]  # (uploaded file, name of the weights, progress)

KEPT = 900  # seconds that results lie in the temporary folder, and uploads after the longest wait
STORED = 40  # of the largest uploads, and
RESULTS = 10  # of the largest results, at 3 bytes for a pixel: with more there, another upload is refused
TITLE = "Enlarge a picture"


def serve(models: Mapping[str, Model], limits: Limits, *, host: str, port: int) -> None:
    """Until SIGINT, SIGTERM or SIGHUP. The temporary folder is removed at the end.

    Raises:
      UserError: nothing can listen there.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"--host={host} --port={port}: nothing can listen there ({error}); give others") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn shuts down, and gives the signal on
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # a terminal that goes; not under nohup
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError("TMPDIR: no folder for temporary files; set it to one that can be written to") from error
    with listening, tempfile.TemporaryDirectory(prefix="srgan_serve_", ignore_cleanup_errors=True) as name:
        folder, working = Path(name).resolve(), threading.Lock()

        def enlarge(upload: Path, weights: str, progress: Progress) -> Answer:
            def unless_stopped(part: float) -> None:
                if server.should_exit:
                    raise Refused("The server is being stopped.")
                progress(part)

            with working:
                unless_stopped(0)
                return answer(upload, models[weights], limits, folder, unless_stopped)

        app = make_app(enlarge, list(models), limits, folder)
        import uvicorn

        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
        server = uvicorn.Server(config)
        threading.Thread(target=clean, args=(folder, limits), daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}/ until Ctrl+C", flush=True)
        try:
            server.run([listening])
        except KeyboardInterrupt:
            pass
        try:
            if not working.acquire(blocking=False):  # for good: what is being written would bring the folder back
                print("finishing the tile at work (again: stop at once)", flush=True)
                working.acquire()
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(128 + signal.SIGINT)


def clean(folder: Path, limits: Limits) -> None:
    while True:
        time.sleep(60)
        sweep(folder / MADE, KEPT)
        sweep(folder, KEPT + limits.queue * limits.seconds)


def make_app(enlarge: Enlarge, names: Sequence[str], limits: Limits, folder: Path) -> App:
    """All that gradio writes lies in `folder`. It asks nobody about anything, whatever the environment says."""
    for variable in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[variable]
    # gradio reads these when it is imported
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    import gradio
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio.mount_gradio_app(
        app,
        make_page(gradio, enlarge, names, limits),
        "/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=limits.upload,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        css="#start { background: #c2410c; }",  # gradio's orange is too light for white words
    )
    stored = STORED * limits.upload + RESULTS * 3 * limits.output_pixels
    return gate(app, folder, upload=limits.upload + (1 << 16), stored=stored)


def make_page(gradio: Any, enlarge: Enlarge, names: Sequence[str], limits: Limits) -> Any:
    def clicked(upload: str | None, name: str, progress: Any = gradio.Progress()) -> tuple[Any, Any, str]:  # noqa: B008
        if upload is None:
            return None, None, "Choose a picture first."
        progress(0, desc="Enlarging")
        try:
            made = enlarge(Path(upload), name, lambda part: progress(part, desc="Enlarging"))
        except Refused as refused:
            return None, None, str(refused)
        return (str(made.bicubic), str(made.network)), str(made.result), made.said

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        gradio.Markdown(
            f"# {TITLE}\nFiles up to {limits.upload / 1e6:g} MB, pictures up to {limits.input_pixels / 1e6:g} million "
            f"pixels, enlarged up to {limits.output_pixels / 1e6:g} million."
        )
        upload = gradio.File(label="Picture", file_types=["image", ".tga"], type="filepath", elem_id="upload")
        weights = gradio.Dropdown(names, value=names[0], label="Weights", visible=len(names) > 1, elem_id="weights")
        start = gradio.Button("Enlarge", variant="primary", elem_id="start")
        said = gradio.Textbox(label="Result", interactive=False, elem_id="said")
        slider = gradio.ImageSlider(
            label="Bicubic | network",
            type="filepath",
            interactive=False,
            buttons=["fullscreen"],
            max_height=700,
            elem_id="slider",
        )
        download = gradio.File(label="Enlarged picture (PNG)", interactive=False, elem_id="download")
        start.click(
            clicked,
            [upload, weights],
            [slider, download, said],
            api_visibility="private",
            concurrency_limit=1,
            trigger_mode="always_last",  # another picture may be chosen while one is at work
            show_progress_on=said,
        )
    page.queue(max_size=limits.queue, default_concurrency_limit=1)
    return page
