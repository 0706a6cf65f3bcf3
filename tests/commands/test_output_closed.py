"""The command line with nobody at the other end of what it prints."""

import json
import shlex
import signal
import subprocess
import sys

import pytest
from PIL import Image
from running import ROOT

from srgan_jax.data.images import image_size


@pytest.mark.parametrize(
    ("closed", "code"), [("2>&-", 0), ("2>/dev/full", 0), (">&-", 0), ("| true", 128 + signal.SIGPIPE)]
)
def test_nobody_listens(tmp_path, closed, code):
    small, large = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (24, 20)).save(small)
    command = shlex.join([sys.executable, "-m", "srgan_jax", "upscale", "-i", str(small), "-o", str(large)])
    argv = ["bash", "-c", f"{command} {closed}; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert image_size(large) == (80, 96)
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["done"] * closed.startswith("2")


def test_figures_are_written_before_a_reader_goes(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = ["evaluate", "--hr", str(tmp_path), "--json", str(tmp_path / "figures.json"), "--lpips"]
    command = shlex.join([sys.executable, "-m", "srgan_jax", *arguments])
    done = subprocess.run(
        ["bash", "-c", f"{command} >/dev/full"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert json.loads((tmp_path / "figures.json").read_text())["methods"][0]["name"] == "bicubic"
