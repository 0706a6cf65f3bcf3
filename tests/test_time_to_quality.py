"""The training record, at a size at which nothing is learnt: it runs, reports and goes on."""

import re

import numpy as np
import pytest
from PIL import Image

from benchmarks import time_to_quality
from srgan_jax.training.trained import load_generator


@pytest.mark.slow
def test_both_runs_report_and_go_on(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder in ("photographs", "data/set5", "data/set14"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (64, 48, 3), np.uint8)).save(tmp_path / folder / f"{number}.png")
    arguments = ["--photographs", f"{tmp_path}/photographs", "--data", f"{tmp_path}/data", "--quick", "--vgg", "random"]
    arguments += [
        "--layer",
        "2.2",
        "--workdir",
        f"{tmp_path}/runs",
        "--budget-minutes",
        "0.001",
        "--gan-minutes",
        "0.001",
    ]
    said = []
    for _ in range(2):  # the second finds both complete
        assert time_to_quality.main(arguments) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+\.\d\d) \|$", said[0], re.MULTILINE)
    assert len(rows) == 6 and said[0].count("not reached") == 2 * len(time_to_quality.MARKS)
    held_out = [path.resolve().name for path in (tmp_path / "runs" / "held_out").iterdir()]
    assert held_out == ["0.png"] and len(list((tmp_path / "runs" / "photographs").iterdir())) == 2
    for name in ("srresnet", "srgan"):
        weights = load_generator(tmp_path / "runs" / f"{name}_weights" / "generator.safetensors", field="")
        assert weights.name == name and weights.config.generator.features == 8
