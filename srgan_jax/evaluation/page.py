"""Self-contained HTML pages out of the templates beside this file."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from srgan_jax.files import replacing


def write_page(output: Path, template: str, view: Mapping[str, Any]) -> None:
    """Whole or not at all; what `view` holds is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template(template).render(view)
    with replacing(output) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")  # names of files may hold bytes that are no text


def version(label: str, png: bytes, note: str = "") -> dict[str, str]:
    """One picture of those that wipe.html.j2 shows."""
    return {"label": label, "source": "data:image/png;base64," + base64.b64encode(png).decode(), "note": note}
