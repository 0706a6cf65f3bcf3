"""The training record, at a size at which nothing is learnt: it runs, reports and goes on."""

import re
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import time_to_quality
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.tensors import write_safetensors
from srgan_jax.weights.vgg_file import random_vgg


@pytest.mark.slow
def test_both_runs_report_and_go_on(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder in ("photographs", "data/set5", "data/set14"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (64, 48, 3), np.uint8)).save(tmp_path / folder / f"{number}.png")
    vgg16 = {f"{conv}/{kind}": x for conv, layer in random_vgg("vgg16", "2.2", 0).items() for kind, x in layer.items()}
    write_safetensors(tmp_path / "vgg.safetensors", vgg16, {"network": "vgg16", "origin": "torchvision"})
    arguments = ["--photographs", f"{tmp_path}/photographs", "--data", f"{tmp_path}/data", "--quick"]
    arguments += ["--vgg", f"{tmp_path}/vgg.safetensors", "--layer", "2.2", "--workdir", f"{tmp_path}/runs"]
    arguments += ["--budget-minutes", "0.001", "--gan-minutes", "0.001"]
    said = []
    for _ in range(2):  # the second finds both complete
        assert time_to_quality.main(arguments) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+\.\d\d) \|$", said[0], re.MULTILINE)
    assert len(rows) == 6 and said[0].count("not reached") == 2 * len(time_to_quality.MARKS)
    held_out = [path.resolve().name for path in (tmp_path / "runs" / "held_out").iterdir()]
    assert held_out == ["0.png"] and len(list((tmp_path / "runs" / "photographs").iterdir())) == 2
    for name in ("srresnet", "srgan_vgg53"):
        weights = load_generator(tmp_path / "runs" / f"{name}_weights" / "generator.safetensors", field="")
        assert weights.name == name and weights.config.generator.features == 8


def test_the_second_run_follows_what_the_file_holds(tmp_path):
    write_safetensors(tmp_path / "vgg.safetensors", {}, {"network": "vgg19"})
    given = [None, "random", "weights/vgg19.npz", f"{tmp_path}/vgg.safetensors"]
    configs = [time_to_quality.second_run(Namespace(vgg=vgg, layer=None))[0] for vgg in given]
    assert configs == ["srgan_mse"] + 3 * ["srgan_vgg54"]


def test_weights_that_are_not_there_are_named_before_anything_is_trained(tmp_path, capsys):
    folders = ["--photographs", "srgan_jax/data/samples/train", "--workdir", f"{tmp_path}/runs"]
    with pytest.raises(SystemExit, match="2"):
        time_to_quality.main([*folders, "--data", f"{tmp_path}", "--vgg", f"{tmp_path}/no.npz"])
    assert "there is no file" in capsys.readouterr().err and not (tmp_path / "runs" / "srresnet_trial").exists()
