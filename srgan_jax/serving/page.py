"""The page, by gradio: upload, choose weights, compare, download."""

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srgan_jax.errors import UserError
from srgan_jax.library import Model
from srgan_jax.serving.answer import Limits, Refused, answer
from srgan_jax.serving.gate import App, gate, sweep

KEPT = 900  # seconds that uploads and results lie in the temporary folder
STORED = 40  # times the largest upload: what may lie there at most before another upload is refused
TITLE = "Enlarge a picture"


def serve(models: Mapping[str, Model], limits: Limits, *, host: str, port: int) -> None:
    """Until SIGINT or SIGTERM. The temporary folder is removed at the end.

    Raises:
      UserError: gradio is not installed, or nothing can listen there.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"--host={host} --port={port}: nothing can listen there ({error}); give others") from error
    with listening, tempfile.TemporaryDirectory(prefix="srgan_serve_", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        app = make_app(models, limits, folder)
        import uvicorn

        stopped = threading.Event()

        def clean() -> None:
            while not stopped.wait(60):
                sweep(folder, KEPT)

        threading.Thread(target=clean, daemon=True).start()
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}/ until Ctrl+C", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn shuts down, and gives the signal on
        try:
            uvicorn.Server(config).run([listening])
        except KeyboardInterrupt:
            pass
        finally:
            stopped.set()


def make_app(models: Mapping[str, Model], limits: Limits, folder: Path) -> App:
    """All that gradio writes lies in `folder`. It asks nobody about anything, whatever the environment says.

    Raises:
      UserError: gradio is not installed.
    """
    for variable in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[variable]
    # gradio reads these when it is imported
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    try:
        import gradio
        from fastapi import FastAPI
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; pip install 'srgan-jax[demo]'") from error
    logging.getLogger("httpx").setLevel(logging.WARNING)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = make_page(gradio, models, limits, folder)
    gradio.mount_gradio_app(
        app,
        page,
        "/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=limits.upload,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    return gate(app, folder, upload=limits.upload + (1 << 16), stored=STORED * limits.upload)


def make_page(gradio: Any, models: Mapping[str, Model], limits: Limits, folder: Path) -> Any:
    names = list(models)

    def enlarge(upload: str | None, name: str, progress: Any = gradio.Progress()) -> tuple[Any, Any, str]:  # noqa: B008
        if upload is None:
            return None, None, "Choose a picture first."
        progress(0, desc="Enlarging")
        try:
            made = answer(Path(upload), models[name], limits, folder, lambda part: progress(part, desc="Enlarging"))
        except Refused as refused:
            return None, None, str(refused)
        return (str(made.bicubic), str(made.network)), str(made.result), made.said

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        gradio.Markdown(
            f"# {TITLE}\nFiles up to {limits.upload / 1e6:g} MB, pictures up to {limits.input_pixels / 1e6:g} million "
            f"pixels, enlarged up to {limits.output_pixels / 1e6:g} million."
        )
        upload = gradio.File(label="Picture", file_types=["image"], type="filepath", elem_id="upload")
        weights = gradio.Dropdown(names, value=names[0], label="Weights", visible=len(names) > 1, elem_id="weights")
        start = gradio.Button("Enlarge", variant="primary", elem_id="start")
        said = gradio.Textbox(label="Result", interactive=False, elem_id="said")
        slider = gradio.ImageSlider(
            label="Bicubic | network", type="filepath", interactive=False, buttons=["fullscreen"], elem_id="slider"
        )
        download = gradio.File(label="Enlarged picture (PNG)", interactive=False, elem_id="download")
        start.click(
            enlarge,
            [upload, weights],
            [slider, download, said],
            api_visibility="private",
            concurrency_limit=1,
            show_progress_on=said,
        )
    page.queue(max_size=limits.queue, default_concurrency_limit=1)
    return page
