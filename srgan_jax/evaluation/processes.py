"""Processes of a grid: one at a time, and signals passed on to it."""

import fcntl
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from srgan_jax.training.guards import handled, stops

Child = Callable[[list[str], Path], int]


class Stopped(Exception):
    """A signal came that stops; the process that was running has saved and ended."""


@contextmanager
def children(say: Callable[[str], None]) -> Iterator[Child]:
    """child(module and arguments, log) -> exit code, of `python -m`. A signal goes on to it; then comes Stopped.

    A process holds a lock on its log, so that one whose parent was killed is waited for and not met by another.
    """
    received: list[int] = []
    running: list[subprocess.Popen] = []

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        for process in running:
            process.terminate()  # training saves; a second one ends it at once

    def child(arguments: list[str], log: Path) -> int:
        with log.open("a") as file:
            for wait in itertools.count():
                if received:
                    raise Stopped
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as its output, the child keeps it locked
                    break
                except BlockingIOError:
                    if not wait:
                        say(f"waiting for a process that an earlier call left at work; see {log}")
                    time.sleep(0.5)
            # in a session of its own: Ctrl-C at a terminal would reach it twice
            argv = [sys.executable, "-m", *arguments]
            with subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            ) as process:
                running.append(process)
                if received:  # while it was being started
                    process.terminate()
                code = process.wait()
                running.clear()
        if received:
            raise Stopped
        return code

    with handled(stops(), handle):
        yield child
