"""What is not finite is skipped, then gone back from; what stalls is ended."""

import json
import logging
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from running import ROOT, assert_same_bits, command, logged, made_up_state, train
from test_steps import made, some_batch

from configs import tiny, tiny_gan
from srgan_jax import provenance
from srgan_jax.__main__ import main
from srgan_jax.data import host_pipeline
from srgan_jax.data.sources import make_source
from srgan_jax.training import checkpoint, guards, loop
from srgan_jax.training.call import SKIPPED, guarded, make_call
from srgan_jax.training.parallel import make_layout
from srgan_jax.training.replay import keep_batch

FIELDS = ("validation.every=0", "log.every=1", "log.tensorboard=False", "data.pipeline=device")


def spoil(monkeypatch, wanted):
    """The generator's gradient is not a number at updates for which wanted(step, config) says so."""
    make = loop.make_update

    def make_update(config, *arguments):
        update = make(config, *arguments)

        def spoiled(state, feature_params, batch, key):
            new, metrics = update(state, feature_params, batch, key)
            bad = jnp.where(wanted(state.g.step, config), jnp.nan, 0.0)
            new = new.replace(g=new.g.replace(params=jax.tree.map(lambda x: x + bad, new.g.params)))
            return new, metrics | {"g/grad_norm": metrics["g/grad_norm"] + bad}

        return spoiled

    monkeypatch.setattr(loop, "make_update", make_update)


def test_a_skipped_update_changes_nothing_but_the_count():
    config, state, update = made(tiny_gan.get_config(), ema=0.5, optimizer__warmup=10)

    def broken(*arguments):
        new, metrics = update(*arguments)
        return new, metrics | {"d/loss": jnp.inf * metrics["d/loss"]}

    new, metrics = jax.jit(guarded(broken))(state, {}, some_batch(config), jax.random.key(0))
    assert int(metrics[SKIPPED]) == 1 and not any(float(v) for name, v in metrics.items() if name != SKIPPED)
    assert int(new.g.step) == int(new.d.step) == 1
    before, after = state.replace(g=state.g.replace(step=1), d=state.d.replace(step=1)), new
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)
    whole = jax.jit(guarded(update))
    good, metrics = whole(state, {}, some_batch(config), jax.random.key(0))
    assert int(metrics[SKIPPED]) == 0 and float(metrics["g/loss"]) > 0
    assert any((np.asarray(a) != b).any() for a, b in zip(*map(jax.tree.leaves, (good, new)), strict=True))
    _, metrics = whole(new, {}, some_batch(config), jax.random.key(0))  # the first of the warm-up that is made
    np.testing.assert_allclose(metrics["g/learning_rate"], config.optimizer.learning_rate / 10)


def test_the_figures_of_a_call_are_means_over_the_updates_that_were_made():
    """Of two, the first of which is not finite."""
    config, state, _ = made(tiny.get_config())
    config.steps_per_call = 2

    def update(state, *_):
        loss = jnp.where(state.g.step == 0, jnp.nan, 3.0)
        return state.replace(g=state.g.replace(step=state.g.step + 1)), {"g/loss": loss}

    layout = make_layout(config)
    call = jax.jit(make_call(config, update, lambda fed, *_: fed, layout))
    _, metrics = call(state, {}, some_batch(config)["hr"], layout.flag(False))
    assert float(metrics["g/loss"]) == 3.0 and metrics[SKIPPED].tolist() == [1, 0]


def test_nan_at_one_update_is_skipped_and_counted(tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, lambda step, config: step == 2)
    train("tiny_gan", tmp_path / "run", *FIELDS, "steps=5", "checkpoint.every=5")
    assert "update skipped (1 in a row at step 3)" in capsys.readouterr().err
    assert list(logged(tmp_path / "run", "skipped").values()) == [0, 0, 1, 0, 0]
    losses = logged(tmp_path / "run", "g/loss")
    assert losses.keys() == {1, 2, 4, 5} and all(np.isfinite(list(losses.values())))


@pytest.mark.slow
def test_nan_again_and_again_goes_back_with_a_lower_rate(tmp_path, monkeypatch, capsys):
    """From update 5 on, as long as the rate is the config's."""
    rate = tiny_gan.get_config().optimizer.learning_rate
    spoil(monkeypatch, lambda step, config: (step >= 5) & (config.optimizer.learning_rate == rate))
    fields = (*FIELDS, "checkpoint.every=2", "guard.patience=3", "guard.factor=0.25")
    train("tiny_gan", tmp_path / "run", *fields, "steps=12")
    told = capsys.readouterr().err
    assert "update skipped (3 in a row at step 8)" in told and "from step 4 to 12" in told
    assert "not finite from update 5 on: back to the last checkpoint, learning rate times 0.25 from now on" in told
    rates = logged(tmp_path / "run", "g/learning_rate")
    assert list(rates) == list(range(1, 13))
    assert all(rates[step] == pytest.approx(rate if step <= 4 else rate / 4) for step in rates)
    # another process goes on at the lower rate, and ends in the same bits as one that was not interrupted
    train("tiny_gan", tmp_path / "other", *fields, "steps=8")
    train("tiny_gan", tmp_path / "other", *fields, "steps=12")
    assert_same_bits(tmp_path / "run", tmp_path / "other")


@pytest.mark.slow
def test_a_checkpoint_that_training_diverges_from_twice_is_put_away(tmp_path, monkeypatch, capsys):
    """As if step 4 were poisoned; but not for having begun from it. What it says of the code is of the start."""
    rate = tiny_gan.get_config().optimizer.learning_rate
    bad = {rate: 1, rate / 4: 5, rate / 16: 5}  # from which update on
    spoil(monkeypatch, lambda step, config: step >= bad.get(config.optimizer.learning_rate, 99))
    commits = iter(["loaded", *["edited meanwhile"] * 99])
    monkeypatch.setattr(provenance, "_git", lambda *arguments: arguments[0] == "ls-files" or next(commits))
    fields = (*FIELDS, "checkpoint.every=2", "guard.patience=3", "guard.factor=0.25", "steps=8")
    train("tiny_gan", tmp_path / "run", *fields)
    told = capsys.readouterr().err
    starts = re.findall(r"from step (\d) to 8|checkpoint (4) is where training diverged from twice: moved", told)
    assert starts == [("0", ""), ("0", ""), ("4", ""), ("", "4"), ("2", "")]
    assert (tmp_path / "run" / "quarantine" / "4").is_dir()
    for step in (6, 8):
        meta = json.loads((tmp_path / "run" / "checkpoints" / str(step) / "meta" / "metadata").read_text())
        assert meta["code"]["commit"] == "loaded" and meta["rollbacks"] == 3


def test_an_update_that_cannot_be_kept_is_told(tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, lambda step, config: step >= 1)
    monkeypatch.setattr(checkpoint, "_begin", lambda *arguments: "0.1 MB are free, it needs 3.0")
    fields = (*FIELDS, "checkpoint.every=9", "guard.patience=2", "guard.rollbacks=0", "steps=9")
    assert main(command("tiny_gan", tmp_path / "run", *fields)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "training diverged again at update 1, which could not be kept" in line and "0.1 MB are free" in line


def test_updates_are_kept_where_validation_has_too_little_memory(tmp_path, monkeypatch, capsys):
    def run(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    fields = ("steps=4", "checkpoint.every=4", "validation.every=2", "log.tensorboard=False")
    with monkeypatch.context() as small:
        small.setattr(loop.Validation, "run", run)
        assert main(command("tiny", tmp_path / "run", *fields)) == 2
    said = "srgan train: config.validation.crop=48: too much for the memory; set a smaller one (0 is whole pictures)"
    assert capsys.readouterr().err.splitlines()[-1] == said
    train("tiny", tmp_path / "run", *fields, "validation.crop=32")
    assert f"{tmp_path}/run from step 2 to 4" in capsys.readouterr().err


def test_what_is_kept_of_an_update_are_its_own_crops(tmp_path, photographs):
    """Of the fourth, the second of its call."""
    config = tiny.get_config()
    config.data.update(source="folder", path=str(photographs), store="none", pipeline="host")
    config.steps_per_call, source = 2, make_source(config.data)
    keep_batch(config, source, guards.Diverged(3, 0, made_up_state(3)), tmp_path)
    with np.load(tmp_path / "diverged" / "batch.npz") as kept:
        expected = host_pipeline.batches(source, seed=0, batch_size=4, crop=16)[3]
        assert kept["step"] == 3 and np.array_equal(kept["hr"], [expected])


def test_skips_are_counted_across_calls(caplog):
    caplog.set_level(logging.WARNING, "srgan_jax")
    skips = guards.Skips(patience=4)
    assert not skips.add(3, [0, 0, 1]) and skips.first == 2
    assert not skips.add(6, [1, 1, 0]) and skips.row == 0
    assert not skips.add(9, [0, 1, 1])
    assert skips.add(12, [1, 1, 1]) and skips.first == 7
    assert guards.Skips(patience=2).add(5, [0, 1, 1, 0, 1])  # a row that ends within the call counts, too


STALL = """
import time
from srgan_jax.training.guards import Watchdog
with Watchdog(0.4) as watchdog:
    time.sleep(1.0)  # the beginning has ten times as long
    for _ in range(4):
        time.sleep(0.2)
        watchdog.step()
    watchdog.begin()
    time.sleep(1.0)
    watchdog.step()
    print("working", flush=True)
    time.sleep(30)
"""


def test_the_watchdog_ends_what_stalls_with_all_stacks():
    began = time.monotonic()
    argv = [sys.executable, "-c", STALL]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 75 and done.stdout == "working\n" and time.monotonic() - began < 30
    assert "no step in" in done.stderr and 'File "<string>"' in done.stderr and "_watch" in done.stderr


def test_the_watchdog_does_not_count_while_the_process_is_stopped():
    code = STALL.replace("Watchdog(0.4)", "Watchdog(1)").replace("time.sleep(30)", "sys.stdin.read()")
    argv = [sys.executable, "-c", "import sys" + code]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
    assert process.returncode == 0


def test_two_signals_at_once_are_one():
    code = (
        "import os, subprocess, time; from srgan_jax.training import guards\n"
        "with guards.stop_signals() as stop:\n"
        "    subprocess.run(f'kill -TERM {os.getpid()}; kill -INT {os.getpid()}', shell=True)\n"
        "    time.sleep(1); print(len(stop))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n" and "saving after this step" in done.stderr


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_of_either_kind_ends_at_once(second):
    code = (
        "import signal, time; from srgan_jax.training import guards\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # else ignored, where the tests run under nohup
        "with guards.stop_signals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop: time.sleep(0.01)\n"
        "    print('saving', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line, number in (("ready\n", signal.SIGHUP), ("saving\n", second)):
            assert process.stdout.readline() == line
            process.send_signal(number)
    assert process.returncode == -second


def test_without_seconds_there_is_no_watchdog():
    with guards.Watchdog(0.0) as watchdog:
        assert not watchdog.thread.is_alive()
