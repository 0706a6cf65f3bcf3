"""What ends a run that would not end well by itself: signals, stalls, updates that are not finite."""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import jax

from srgan_jax.errors import of_memory, printable, said
from srgan_jax.training.state import GanState

STALLED = 75  # the exit code: a temporary failure, another start may help
PATIENT = 10  # how many times longer than a step one may take that compiles, saves or validates

TWICE = 0.5

log = logging.getLogger(__name__)


def stops() -> list[signal.Signals]:
    """SIGHUP, a terminal that goes, is one of them unless it is ignored, as under nohup."""
    gone = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL else []
    return [signal.SIGTERM, signal.SIGINT, *gone]


@contextmanager
def handled(numbers: Iterable[int], handle: Callable[[int, Any], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that a signal puts its number into; a second one ends the process at once, but not within TWICE seconds.

    A launcher may pass on what the whole group was told.
    """
    received: list[int] = []
    numbers = stops()

    def handle(number: int, frame: Any) -> None:
        if received:
            return
        received.append(number)
        time.sleep(TWICE)
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        log.warning("signal %d: saving after this step (again: stop at once)", number)

    with handled(numbers, handle):
        yield received


@contextmanager
def together() -> Iterator[None]:
    """Of several processes, one that fails ends at once and with its own message, so that the others notice.

    Python would wait for the others at the exit, and they for it in their next update.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        line = None if of_memory(error) else said(error)  # where another process had too little, it is the launcher's
        if line is not None:
            print(f"srgan train: {printable(line)}", file=sys.stderr)
        else:
            log.exception("process %d failed", jax.process_index())
        logging.shutdown()
        sys.stderr.flush()
        os._exit(1 if line is None else 2)


class Watchdog:
    """A thread that ends the process, with the stacks of all threads and exit code 75, when no step is done in time.

    Such as when another process of the run hangs: what waits for it in an update never comes back. seconds: 0 is never.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.done = seconds, threading.Event()
        self.begin()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        if self.seconds:
            self.thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.done.set()

    def begin(self) -> None:
        """Something that may take longer than a step begins; it lasts until the next step is done."""
        self.last, self.limit = time.monotonic(), self.seconds * PATIENT

    def step(self) -> None:
        """A step is done."""
        self.last, self.limit = time.monotonic(), self.seconds

    def _watch(self) -> None:
        tick, before = min(1.0, self.seconds / 4), time.monotonic()
        while not self.done.wait(tick):
            now = time.monotonic()
            self.last += max(0.0, now - before - 2 * tick)  # while this thread did not run either: Ctrl-Z, a paused job
            before, silent = now, now - self.last
            if silent > self.limit:
                log.error("no step in %.0f s (config.guard.watchdog=%g): ended, exit code 75", silent, self.seconds)
                faulthandler.dump_traceback(all_threads=True)
                os._exit(STALLED)


class Diverged(Exception):
    """Updates that are not finite, from update `first` on; `state` is as it was before, but for its count of steps."""

    def __init__(self, first: int, rollbacks: int, state: GanState) -> None:
        super().__init__(f"not finite from update {first} on")
        self.first, self.rollbacks, self.state = first, rollbacks, state


class Skips:
    """Counts the updates that were skipped; `patience` in a row are too many."""

    def __init__(self, patience: int) -> None:
        self.patience, self.row, self.first = patience, 0, 0

    def add(self, step: int, skipped: Sequence[int]) -> bool:
        """For one call that ended at `step`. True: too many in a row; `first` is the update that began it."""
        for update, skip in enumerate(skipped, step - len(skipped)):
            if skip and not self.row:
                self.first = update
            self.row = self.row + 1 if skip else 0
            if self.row == self.patience:
                break
        if any(skipped):
            log.warning("warning: loss or gradient not finite, update skipped (%d in a row at step %d)", self.row, step)
        return self.row >= self.patience
