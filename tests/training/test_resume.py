"""A run that is stopped and resumed, however roughly, ends in the same bits as one that is not."""

import random
import shutil
import signal
import time

import jax
import pytest
from running import assert_same_bits, command, leaves, logged, refusal, run, run_all, spawn, spawn_all, train

from srgan_jax.__main__ import main
from srgan_jax.training import start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "pipeline"), [("tiny", "host"), ("tiny", "device"), ("tiny_gan", "device"), ("tiny_pix2pix", "host")]
)
def test_ten_straight_equal_five_and_five_in_a_new_process(tmp_path, config, pipeline):
    """The first five are the same ten's: what it had saved by then is put where a second process goes on from it."""
    straight, split = tmp_path / "straight", tmp_path / "split"
    averages = (config, pipeline) == ("tiny", "host")  # of parameters; it stops while the rate still rises
    fields = [f"data.pipeline={pipeline}", "steps=10", "checkpoint.every=5", "log.every=1"]
    fields += ["ema=0.9", "optimizer.warmup=7"] if averages else []
    train(config, straight, *fields)
    shutil.copytree(straight, split, ignore=shutil.ignore_patterns("10", "tensorboard"))
    assert leaves(split)["at"] == 5
    assert "from step 5 to 10" in run(command(config, split, *fields))
    assert_same_bits(straight, split)
    assert logged(split, "g/loss") == logged(straight, "g/loss") and len(logged(split, "g/loss")) == 10
    arrays = leaves(split)
    averaged = [name for name in arrays if "ema_params" in name]
    assert any((arrays[name] != arrays[name.replace("ema_params", "params")]).any() for name in averaged) == averages


@pytest.mark.slow
def test_a_run_goes_on_with_more_updates_in_a_call(tmp_path, capsys):
    fields = ("validation.every=0", "log.tensorboard=False", "log.every=2", "checkpoint.every=2", "data.pipeline=host")
    train("tiny", tmp_path / "straight", *fields, "steps=6")
    train("tiny", tmp_path / "split", *fields, "steps=2")
    train("tiny", tmp_path / "split", *fields, "steps=6", "steps_per_call=2")
    straight, split = (logged(tmp_path / name, "g/loss") for name in ("straight", "split"))
    assert split == pytest.approx(straight, rel=1e-4) and list(split) == [2, 4, 6]
    four = ("steps=8", "steps_per_call=4", "log.every=4", "checkpoint.every=4")
    assert main(command("tiny", tmp_path / "split", *fields, *four)) == 2
    assert "config.steps_per_call=4: the run goes on from step 6; until" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_run_by_lpips(tmp_path, monkeypatch, capsys, lpips_files):
    cache = tmp_path / "cache" / "srgan_jax"
    cache.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    weights = cache / "lpips_vgg.safetensors"
    weights.symlink_to(lpips_files["vgg"])
    fields = ("loss.lpips.weight=1.0", "parallel.mode=pmap", "validation.every=0", "log.tensorboard=False")
    fields += ("log.every=1", "checkpoint.every=1")
    straight, split = tmp_path / "straight", tmp_path / "split"
    train("tiny", straight, *fields, "steps=2")
    shutil.copytree(straight, split, ignore=shutil.ignore_patterns("2"))
    assert leaves(split)["at"] == 1
    train("tiny", split, *fields, "steps=2")
    assert_same_bits(straight, split)
    assert all(0 < value < 2 for value in logged(straight, "g/lpips").values())
    with monkeypatch.context() as others:
        load = start.load_features
        others.setattr(start, "load_features", lambda config: jax.tree.map(lambda x: 1.5 * x, load(config)))
        assert "began with other LPIPS weights" in refusal(capsys, command("tiny", split, *fields, "steps=3"))
    weights.unlink()
    weights.symlink_to(lpips_files["alex"])
    line = refusal(capsys, command("tiny", tmp_path / "other", *fields))
    assert f"config.loss.lpips.network=vgg: {weights} is of alex" in line


@pytest.mark.slow
def test_a_run_goes_on_with_the_feature_weights_it_began_with(tmp_path, monkeypatch, capsys):
    fields = ("validation.every=0", "log.tensorboard=False", "loss.feature.weight=1.0", "loss.feature.layer=1.1")
    fields += ("loss.feature.weights=random",)
    train("tiny", tmp_path / "run", *fields, "steps=1")
    load = start.load_features
    monkeypatch.setattr(start, "load_features", lambda config: jax.tree.map(lambda x: 1.5 * x, load(config)))
    line = refusal(capsys, command("tiny", tmp_path / "run", *fields, "steps=2"))
    assert "began with other feature weights" in line


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills", "every"), [(1, 8, 30), (2, 4, 4)])
def test_killed_at_random_moments_it_still_ends_in_the_same_bits(tmp_path, processes, kills, every):
    """Half of the kills fall anywhere from the start on, half shortly after a save began to show."""
    fields = [f"checkpoint.every={every}", f"validation.every={2 * every}", "log.every=1"]
    fields += ["data.pipeline=host", "log.tensorboard=False"]

    def start() -> list:
        arguments = command("tiny_gan", tmp_path / "killed", *fields, "steps=600000")  # more than any machine comes to
        return spawn_all(arguments, processes) if processes > 1 else [spawn(arguments)]

    def saves() -> set[str]:
        folder = tmp_path / "killed" / "checkpoints"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    chance, moments = random.Random(0), []
    for kill in range(kills):
        before, running, began = saves(), start(), time.monotonic()
        while kill % 2 and not saves() - before:
            assert running[0].poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3 if kill % 2 else 8.0))
        victims = running if chance.random() < 0.5 else [chance.choice(running)]
        for process in victims:
            assert process.poll() is None, "the run ended before it could be killed"
            process.kill()
        moments.append(time.monotonic() - began)
        for process in running:  # one that is left ends by itself, unless it still waits for the others to begin
            process.terminate()
            process.communicate(timeout=60)
    reached = max(map(int, filter(str.isdigit, saves())), default=0)
    print(f"{processes} processes, killed after {', '.join(f'{m:.1f}' for m in moments)} s, at last at step {reached}")
    assert reached > 0
    steps = (reached // (2 * every) + 1) * 2 * every
    for workdir in ("killed", "straight"):
        if processes == 1:
            train("tiny_gan", tmp_path / workdir, *fields, f"steps={steps}")
        else:
            run_all(command("tiny_gan", tmp_path / workdir, *fields, f"steps={steps}"), processes)
    assert_same_bits(tmp_path / "straight", tmp_path / "killed")
    for name in ("g/loss", "d/loss", "validation/psnr_y"):  # of every update: no sample was lost, or came twice
        there, here = logged(tmp_path / "straight", name), logged(tmp_path / "killed", name)
        assert there == here and max(there) == steps
    assert logged(tmp_path / "killed", "g/loss").keys() == set(range(1, steps + 1))


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on_later(tmp_path, capsys):
    fields = ("steps=100000", "checkpoint.every=100000", "validation.every=0", "log.every=10")
    process = spawn(command("tiny", tmp_path / "run", *fields))
    deadline = time.monotonic() + 120
    while not ((tmp_path / "run" / "metrics.jsonl").exists() and logged(tmp_path / "run", "g/loss")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and "stopped by a signal" in output
    at = int(leaves(tmp_path / "run")["at"])
    assert at >= 10
    train("tiny", tmp_path / "run", f"steps={at + 10}", *fields[1:])
    assert f"from step {at} to {at + 10}" in capsys.readouterr().err
