"""What a run says about itself while it trains."""

import json
import logging
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from configs import tiny_gan
from srgan_jax.training import writers
from srgan_jax.training.writers import PATIENCE, Progress, Writer, shares


@pytest.fixture
def progress(tmp_path):
    config = tiny_gan.get_config()
    config.steps_per_call, config.log.every = 100, 500
    writer = Writer(tmp_path, step=0, tensorboard=False)
    yield Progress(writer, config, 0)
    writer.close()


def test_lines_that_a_crash_left_damaged_are_taken_out(tmp_path):
    good = [json.dumps({"step": step}).encode() for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([good[0], b"\xff\xfe\0", b"[1]", b"7", b'{"st', good[1], b""]))
    Writer(tmp_path, step=2, tensorboard=False).close()
    assert (tmp_path / "metrics.jsonl").read_bytes().splitlines() == good


def test_lines_of_steps_that_come_again_are_taken_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    Writer(tmp_path, step=1, tensorboard=False).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_a_line_has_means_over_what_was_not_skipped_and_the_speed(progress, tmp_path, monkeypatch):
    """Twice 100 s for 100 updates, 25 s of them for data; half of the second 100 were skipped."""
    clock = [0.0]
    monkeypatch.setattr(writers.time, "monotonic", lambda: clock[0])
    progress.config.log.every, progress.config.batch_size, progress.began = 200, 4, 0.0
    for step, loss, skipped in ((100, 1.0, 0), (200, 4.0, 50)):
        clock[0] += 75
        with progress.waiting():
            clock[0] += 25
        progress.add(step, {"g/loss": loss}, np.arange(100) < skipped)
    speed = {"step_per_s": 1.0, "images_per_s": 4.0, "data_wait_percent": 25.0}
    line = {"step": 200, "g/loss": 2.0, "skipped": 50} | speed
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == line


def test_the_board_does_not_import_torch_and_others_can(tmp_path):
    script = f"""
import sys
from datetime import timedelta
from pathlib import Path
from srgan_jax.training.board import Board
Board(Path({str(tmp_path)!r}), 0).close()
assert "tensorboardX" in sys.modules and "torch" not in sys.modules
import torch
Board(Path({str(tmp_path)!r}), 0).close()
assert sys.modules["torch"] is torch"""
    subprocess.run([sys.executable, "-c", script], check=True)


def winning_lines(progress, caplog, accuracies):
    """Steps at which the warning stands, with one accuracy for every 100 updates."""
    with caplog.at_level(logging.WARNING, "srgan_jax"):
        for i, accuracy in enumerate(accuracies, 1):
            progress.add(100 * i, {"g/loss": 1.0, "d/accuracy": accuracy}, np.zeros(100, int))
    return [record.getMessage() for record in caplog.records if "D has been winning" in record.getMessage()]


@pytest.mark.parametrize(
    ("accuracies", "warned"),
    [
        ([1.0] * 9, []),
        ([1.0] * 10, [1000]),
        ([1.0] * 9 + [0.85], []),
        ([0.5] * 10 + [1.0] * 20, [2000, 3000]),
        ([0.5] * 5 + [1.0] * 10, [1500]),  # whenever it begins
        ([0.95] + [1.0] * 9 + [0.5] + [1.0] * 9, [1000]),  # what was warned of counts no more
        ([0.99] * 20, []),
    ],
)
def test_a_discriminator_that_keeps_winning_is_told_of(progress, caplog, accuracies, warned):
    assert PATIENCE == 1000
    lines = winning_lines(progress, caplog, accuracies)
    assert [int(line.split("at step ")[1].split()[0]) for line in lines] == warned


def test_shares_are_of_the_weighted_gradients():
    metrics = {"g/pixel_grad_norm": 3.0, "g/adversarial_grad_norm": 1.0, "g/grad_norm": 9.0, "d/grad_norm": 9.0}
    assert shares(metrics) == {"pixel": 75.0, "adversarial": 25.0}


def test_shares_are_said_once_at_the_start(progress, caplog):
    with caplog.at_level(logging.INFO, "srgan_jax"):
        for step in (100, 200):
            progress.add(step, {"g/loss": 1.0, "g/pixel_grad_norm": 2.0}, np.zeros(100, int))
    assert [record.getMessage().count("pixel 100.0 %") for record in caplog.records] == [1]


@pytest.mark.parametrize(("norm", "warned"), [(0.9, ["adversarial is 0.09 % of the gradient"]), (1.1, [])])
def test_an_adversarial_loss_of_no_account_is_told_of(progress, caplog, norm, warned):
    figures = {"g/loss": 1.0, "g/feature_grad_norm": 999.0, "g/adversarial_grad_norm": norm}
    with caplog.at_level(logging.WARNING, "srgan_jax"):
        for step in (100, 200):
            progress.add(step, figures, np.zeros(100, int))
    assert [record.getMessage().split(",")[0].removeprefix("warning: ") for record in caplog.records] == warned


def test_the_time_left_counts_validations(progress, caplog, monkeypatch):
    """1 s an update, and 300 s of validating in every 500 of them."""
    clock = [0.0]
    monkeypatch.setattr(writers.time, "monotonic", lambda: clock[0])
    progress.config.steps, progress.began = 10_000, 0.0
    with caplog.at_level(logging.INFO):
        for step in range(100, 2001, 100):
            clock[0] += 100
            progress.add(step, {"g/loss": np.float32(1)}, np.zeros(100, int))
            if step % 500 == 0:
                with progress.paused():
                    clock[0] += 300
    lines = [record.getMessage() for record in caplog.records if " ETA " in record.getMessage()]
    assert all("  1 step/s  " in line for line in lines)
    left = [line.split("ETA ")[1].split("  ")[0] for line in lines]
    assert left == [str(timedelta(seconds=s)) for s in (9500, 9000 * 1.3, 8500 * 1.4, 8000 * 1.45)]


def test_what_comes_after_is_read_after_whatever_the_clock_says(tmp_path, monkeypatch):
    for step, clock in ((0, 2e9), (5, 1e9), (9, 1e9 + 1)):
        monkeypatch.setattr(writers.time, "time", lambda clock=clock: clock)
        writer = Writer(tmp_path, step=step, tensorboard=True)
        writer.scalars(step + 1, {"g/loss": 1.0})
        writer.close()
    names = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert [int(name.split(".")[3]) for name in names] == [2 * 10**9, 2 * 10**9 + 1, 2 * 10**9 + 2]
    for name, step in zip(names, (1, 6, 10), strict=True):
        content = (tmp_path / "tensorboard" / name).read_bytes()
        # of the figure, and of session_log {status: START}, at which TensorBoard drops what it has from that step on
        assert content.count(b"\x10" + bytes([step])) == 2 and b"\x10" + bytes([step]) + b"\x3a\x02\x08\x01" in content
