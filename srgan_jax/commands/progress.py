"""How far a command is: a bar on a terminal, otherwise a plain line for each thing that is done."""

import os
import sys
from typing import Any

from srgan_jax.errors import printable

WIDTH = 24


class Progress:
    """Of `total` things, one after another, each done in tiles; written to standard error."""

    def __init__(self, total: int):
        self.total, self.number, self.name = total, 0, ""
        self.bar = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def next(self, name: str) -> None:
        self.number, self.name = self.number + 1, name
        self.tiles(0, 1)

    def tiles(self, done: int, total: int) -> None:
        if self.bar:
            filled = WIDTH * done // total
            name = self.name if len(self.name) <= 40 else "..." + self.name[-37:]
            bar = "#" * filled + "-" * (WIDTH - filled)
            line = f"{self.number}/{self.total} [{bar}] {100 * done // total:3} % {printable(name)}"
            _tell(f"\r\x1b[K\x1b[?7l{line}\x1b[?7h")  # cut off at the edge, for what wraps is not cleared again

    def say(self, line: str, record: dict[str, Any]) -> None:
        """`line` to standard output; in plain words what became of a thing to standard error."""
        self.close()
        print(line, flush=True)
        if record["status"] != "done":
            words = f"{record['status']}: {record['error']}"
        else:
            sizes = " -> ".join("x".join(map(str, record[size])) for size in ("size", "output_size"))
            words = f"{record['output']}  {sizes}  {record['seconds']:.2f} s"
        _tell(f"{self.number}/{self.total} {printable(record['input'])}: {printable(words)}\n")

    def close(self) -> None:
        if self.bar:
            _tell("\r\x1b[K")


def _tell(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # onto a full disk, say: the pictures matter more, and are told of on standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
