"""Self-contained HTML pages out of the templates beside this file."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def write_page(output: Path, template: str, view: Mapping[str, Any]) -> None:
    """Under a temporary name, then renamed; what `view` holds is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        # "replace", because names of files may hold bytes that are no text
        partial.write_text(environment.get_template(template).render(view), encoding="utf-8", errors="replace")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def version(label: str, png: bytes, note: str = "") -> dict[str, str]:
    """One picture of those that wipe.html.j2 shows."""
    return {"label": label, "source": "data:image/png;base64," + base64.b64encode(png).decode(), "note": note}
