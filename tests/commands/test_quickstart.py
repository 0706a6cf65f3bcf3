"""The promise of the README: minutes on a CPU, and 1 dB over bicubic on photographs not trained on."""

import json

import pytest
from running import command, run

from srgan_jax.__main__ import main


@pytest.mark.slow
def test_the_quickstart_beats_bicubic_by_one_db_on_held_out_photographs(tmp_path, optimised):
    """In half of its updates; the whole is `make demo`."""
    run(command("quickstart", tmp_path / "quickstart", "steps=1000"), timeout=1800)
    assert main(["evaluate", "--checkpoint", f"{tmp_path}/quickstart", "--json", f"{tmp_path}/figures.json"]) == 0
    methods = json.loads((tmp_path / "figures.json").read_text())["methods"]
    bicubic, ours = (method["sets"]["validation"]["mean"] for method in methods)
    assert ours["psnr_y"] >= bicubic["psnr_y"] + 1.0
    assert ours["ssim_wang"] > bicubic["ssim_wang"]
