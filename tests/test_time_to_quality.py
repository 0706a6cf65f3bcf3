"""The training record, at a size at which nothing is learnt: it runs, reports and goes on."""

import json
import os
import re
import signal
import time
from argparse import Namespace
from pathlib import Path
from threading import Thread

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks import time_to_quality
from srgan_jax.models.build import build_generator
from srgan_jax.training.trained import Generator, load_generator
from srgan_jax.weights.tensors import write_safetensors
from srgan_jax.weights.vgg_file import random_vgg


@pytest.fixture
def arguments(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("photographs", "data/set5", "data/set14"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (64, 48, 3), np.uint8)).save(tmp_path / folder / f"{number}.png")
    arguments = ["--photographs", f"{tmp_path}/photographs", "--data", f"{tmp_path}/data", "--quick"]
    return [*arguments, "--workdir", f"{tmp_path}/runs", "--budget-minutes", "0.001", "--gan-minutes", "0.001"]


def same(one: Generator, other: Generator) -> bool:
    equal = jax.tree.map(lambda x, y: bool((x == y).all()), one.variables, other.variables)
    return jax.tree.all(equal)


def interrupt(run: Path) -> None:
    """Ctrl-C once the training in `run` has begun; it then compiles, and stops after an update or two."""

    def wait() -> None:
        while not (run / "config.json").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=wait, daemon=True).start()


@pytest.mark.slow
def test_a_stopped_run_is_not_reported_and_goes_on_then_both_report(arguments, tmp_path, capsys):
    runs = tmp_path / "runs"
    for name, steps in (("srresnet_trial", 4), ("srresnet", 3)):
        interrupt(runs / name)
        with pytest.raises(SystemExit, match=f"{name} stopped at step [12] of {steps}; the same command goes on"):
            time_to_quality.main(arguments)
        assert (runs / "srresnet_plan.json").exists() == (name == "srresnet")
        said = capsys.readouterr()
        assert ("PSNR-Y on Set5" in said.out) == (name == "srresnet") and f"{name} from step 0 to {steps}" in said.err
    assert not list(runs.glob("srgan*")) and not list(runs.glob("*_report.txt")) and "set14" not in said.out
    stopped = load_generator(runs / "srresnet.safetensors", field="")
    assert same(stopped, load_generator(runs / "srresnet", field="", which="latest"))
    assert time_to_quality.main([*arguments, "--gan-minutes", "0"]) == 0
    first = capsys.readouterr().out
    assert first.count("\n| 3 |") == 1 and "of peak" not in first  # 1 to 3, and no hour of measuring a CPU's peak
    trial = [json.loads(line)["step"] for line in (runs / "srresnet_trial" / "metrics.jsonl").read_text().splitlines()]
    assert trial == [2, 4] and not list(runs.glob("srgan*"))  # of one whole trial

    vgg16 = {f"{conv}/{kind}": x for conv, layer in random_vgg("vgg16", "2.2", 0).items() for kind, x in layer.items()}
    write_safetensors(tmp_path / "vgg.safetensors", vgg16, {"network": "vgg16", "origin": "torchvision"})
    arguments += ["--vgg", f"{tmp_path}/vgg.safetensors", "--layer", "2.2", "--gan-speed", "9"]
    said = []
    for _ in range(2):  # the second finds both complete
        assert time_to_quality.main(arguments) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and said[0].startswith(first)
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+\.\d\d) \|$", said[0], re.MULTILINE)
    assert len(rows) == 6 and said[0].count("not reached") == len(time_to_quality.MARKS)  # the second begins beyond
    for name in ("srresnet", "srgan_vgg53"):
        weights = load_generator(runs / f"{name}.safetensors", field="")
        assert weights.name == name and weights.config.generator.features == 8
        assert same(weights, load_generator(runs / name, field="", which=len(rows) // 2))
    config = json.loads((runs / "srgan_vgg53" / "config.json").read_text())
    assert not (runs / "srgan_vgg53_trial").exists() and config["init_from"] == f"{runs}/srresnet.safetensors"


def test_without_a_checkpoint_there_is_nothing_to_measure(tmp_path):
    _, said = time_to_quality.measured(tmp_path / "run", {})
    assert said == "no checkpoint yet"


def test_weights_are_measured_in_float32(monkeypatch):
    config = time_to_quality.load("srresnet_mse", ["dtype=bfloat16"])
    trained = Generator(build_generator(config), {}, config, 5, Path("run"), "run")
    monkeypatch.setattr(time_to_quality, "load_generator", lambda *given, **named: trained)
    assert time_to_quality.generator(Path("run"), 5).network.dtype == jnp.float32


def test_what_training_refuses_is_one_line(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        time_to_quality.main([*arguments, "--workdir", f"{tmp_path}/[runs"])
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("no checkpoint can be kept below a folder with '[' in its name")
    )


def test_the_second_run_follows_what_the_file_holds(tmp_path):
    write_safetensors(tmp_path / "vgg.safetensors", {}, {"network": "vgg19"})
    given = [None, "random", "weights/vgg19.npz", f"{tmp_path}/vgg.safetensors"]
    configs = [time_to_quality.second_run(Namespace(vgg=vgg, lpips=False, layer=None))[0] for vgg in given]
    assert configs == ["srgan_mse"] + 3 * ["srgan_vgg54"]
    assert time_to_quality.second_run(Namespace(vgg=None, lpips=True, layer=None))[0] == "srgan_lpips"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--vgg=no.npz", "there is no file"),
        ("--photographs=configs", "--photographs=configs: no image there"),
        ("--data=configs", "configs/set5: no such folder"),
        ("--budget-minutes=5", "srresnet_plan.json is for minutes 0.001, not 5.0; give that"),
        ("--gan-minutes=5", "srgan_mse_plan.json is for minutes 0.001, not 5.0"),
        ("--batch=32", "srresnet_plan.json is for batch 16, not 32"),
        ("--crop=48", "srresnet_plan.json is for crop 192, not 48; quick False, not True"),
        ("--gan-batch=8", "srgan_mse_plan.json is for batch 32, not 8"),
        ("--layer=2.2", "srgan_mse_plan.json is for layer None, not 2.2"),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_trained(arguments, tmp_path, capsys, option, says):
    runs = tmp_path / "runs"
    runs.mkdir()
    for name, batch in (("srresnet", 16), ("srgan_mse", 32)):
        plan = {"minutes": 0.001, "batch": batch, "crop": 192, "quick": "--crop" not in option, "layer": None}
        (runs / f"{name}_plan.json").write_text(json.dumps(plan))
    with pytest.raises(SystemExit, match="2"):
        time_to_quality.main([*arguments, option])
    assert says in capsys.readouterr().err and not list(runs.glob("*/config.json"))
