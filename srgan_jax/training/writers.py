"""Where figures go: metrics.jsonl, TensorBoard files and pictures below the workdir."""

import json
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from srgan_jax.data.images import write_png
from srgan_jax.errors import FULL
from srgan_jax.files import replacing
from srgan_jax.metrics import to_json
from srgan_jax.training.board import Board, append
from srgan_jax.training.parallel import is_lead
from srgan_jax.training.steps import GRADIENT

log = logging.getLogger(__name__)

WINNING = 0.99  # D's accuracy beyond which G learns little from it ...
PATIENCE = 1000  # ... if it stays there for so many updates
FAINT = 0.1  # percent of the gradient below which an adversarial loss is next to none


class Writer:
    """Opened at `step`: lines of later steps, written by a run that was then killed, are dropped.

    Of several processes the lead writes; the others' writers do nothing.
    """

    def __init__(self, workdir: Path, *, step: int, tensorboard: bool) -> None:
        self.workdir, self.lines, self.board = workdir, None, None
        if not is_lead():
            return
        path = workdir / "metrics.jsonl"
        kept, there = [], ""
        with suppress(FileNotFoundError):
            there = path.read_text(errors="replace")
        for line in there.splitlines():
            try:
                kept += [line] if json.loads(line)["step"] <= step else []
            except (ValueError, LookupError, TypeError):  # half a line, cut off by a kill, or what a crash left
                continue
        with replacing(path) as partial:
            partial.write_text("".join(line + "\n" for line in kept))
        self.lines = FileIO(path, "a")
        if tensorboard:
            self.board = Board(workdir / "tensorboard", step)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if not self.lines:
            return
        line = to_json({"step": step, **values}).encode() + b"\n"
        with _if_room("metrics.jsonl", step):
            append(self.lines, line)
        if self.board:
            with _if_room("tensorboard", step):
                self.board.scalars(step, values)

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w 3"]) -> None:
        with _if_room(name, step):
            write_png(self.workdir / name / f"{step:08d}.png", image)
        if self.board:
            with _if_room(f"tensorboard: {name}", step):
                self.board.image(step, name, image)

    def close(self) -> None:
        if self.lines:
            self.lines.close()
        if self.board:
            self.board.close()


@contextmanager
def _if_room(name: str, step: int) -> Iterator[None]:
    """A full disk is a warning: the checkpoints decide when it ends the run."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        log.warning("warning: %s: no room for step %d", name, step)


class Progress:
    """Averages figures between log lines and measures speed; validation and saving count for the time left alone."""

    def __init__(self, writer: Writer, config: ConfigDict, step: int) -> None:
        self.writer, self.config = writer, config
        self.from_step, self.all_away = step, 0.0
        self.step, self.sums = step, {}  # type: tuple[int, dict[str, float]]
        self.count, self.skipped = 0, 0
        self.began, self.waited, self.away = time.monotonic(), 0.0, 0.0
        self.first, self.watched = True, deque()  # type: tuple[bool, deque[float]]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        start = time.monotonic()
        yield
        self.waited += time.monotonic() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training."""
        start = time.monotonic()
        yield
        self.away += time.monotonic() - start

    def add(self, step: int, metrics: dict[str, np.ndarray], skipped: np.ndarray) -> None:
        """One call's figures, means over its updates that were not skipped; every `log.every` steps a line."""
        whole = len(skipped) - int(skipped.sum())
        self.count += whole
        self.skipped += int(skipped.sum())
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * whole
        if whole and self.first:
            parts = shares(metrics)
            said = ", ".join(f"{name} {part:.1f} %" for name, part in parts.items())
            log.info("gradient at the generator's output, by term: %s", said)
            if parts.get("adversarial", FAINT) < FAINT:
                weak = "warning: adversarial is %.2g %% of the gradient, so that D changes next to nothing: %s"
                log.warning(weak, parts["adversarial"], "raise loss.adversarial.weight or lower the others")
            self.first = False
        if whole and "d/accuracy" in metrics:
            self._watch(step, float(metrics["d/accuracy"]))
        if step % self.config.log.every:
            return
        seconds = max(time.monotonic() - self.began - self.away, 1e-9)
        rate = (step - self.step) / seconds
        values = {name: total / self.count for name, total in self.sums.items() if self.count}
        waited = 100 * self.waited / seconds
        speed = {
            "step_per_s": rate,
            "images_per_s": rate * self.config.batch_size,
            "data_wait_percent": waited,
        }
        self.writer.scalars(step, values | speed | {"skipped": self.skipped})
        self.all_away += self.away
        each = 1 / rate + self.all_away / (step - self.from_step)
        left = timedelta(seconds=round((self.config.steps - step) * each))
        shown = {name: value for name, value in values.items() if not name.endswith(GRADIENT)}
        losses = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        log.info(
            "step %d/%d (%.0f %%)  %.3g step/s  %.3g images/s  ETA %s  data wait %.1f %%  %s",
            *(step, self.config.steps, 100 * step / self.config.steps),
            *(rate, speed["images_per_s"], left, waited, losses),
        )
        self.step, self.sums, self.count, self.skipped = step, {}, 0, 0
        self.began, self.waited, self.away = time.monotonic(), 0.0, 0.0

    def _watch(self, step: int, accuracy: float) -> None:
        """Warns when D has been right about nearly everything over the last PATIENCE updates, then begins anew."""
        self.watched.append(accuracy)
        updates = self.config.steps_per_call * len(self.watched)
        if updates < PATIENCE:
            return
        mean = sum(self.watched) / len(self.watched)
        if mean <= WINNING:
            self.watched.popleft()
            return
        log.warning(
            "warning: at step %d D has been winning for %d updates (accuracy %.4f): the generator learns little "
            "from it; a lower loss weight, a smaller D or another loss.adversarial.kind may help",
            *(step, updates, mean),
        )
        self.watched.clear()


def shares(metrics: dict[str, Any]) -> dict[str, float]:
    """What each term of the generator's loss contributes to the gradient at its output, in percent of the norms."""
    norms = {name[2 : -len(GRADIENT)]: float(v) for name, v in metrics.items() if name.endswith(GRADIENT)}
    whole = sum(norms.values()) or 1.0
    return {name: 100 * norm / whole for name, norm in norms.items()}
