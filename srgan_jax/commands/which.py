"""--which, of every command that reads a run."""

import argparse
from typing import Any


def add_which(parser: Any, whose: str = "the run") -> None:
    """To a parser or a group of one; the value is what load_generator takes."""
    parser.add_argument(
        "--which",
        type=_which,
        default="best",
        metavar="best|latest|STEP",
        help=f"checkpoint of {whose}: the best by validation (default), the latest, or that of a step",
    )


def _which(text: str) -> str:
    if text not in ("best", "latest") and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither best nor latest nor a step's number")
    return text
