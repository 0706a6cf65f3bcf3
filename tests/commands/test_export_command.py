"""srgan export: a run to files that other programs run, told in a README whose programs do run."""

import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from running import ROOT, names, train
from test_bad_input import refusal

from srgan_jax.__main__ import main
from srgan_jax.data.images import read_image
from srgan_jax.data.sources import SAMPLES
from srgan_jax.inference import export
from srgan_jax.inference.export_readme import SNIPPETS
from srgan_jax.provenance import digest_tree
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.tensors import read_metadata, sha256

FORMATS = ["stablehlo", "onnx", "safetensors"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny run, with averaged parameters, which are what is exported."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    fields = ["steps=2", "checkpoint.every=1", "validation.every=0", "log.tensorboard=False", "ema=0.9"]
    train("tiny", workdir, *fields)
    return workdir


def test_which_checkpoint(tmp_path, capsys, run):
    digests = []
    for which, step in (("1", "1"), ("2", "2"), ("latest", "2")):
        command = ["export", "--checkpoint", str(run), "-o", f"{tmp_path}/{which}", "--to", "safetensors"]
        assert main([*command, "--which", which]) == 0
        written = load_generator(tmp_path / which / "generator.safetensors", field="").variables
        digests.append(digest_tree(written))
        assert digests[-1] == digest_tree(load_generator(run, field="", which=step).variables)
    assert digests[0] != digests[1]
    assert "no checkpoint of step 7; there are 2, 1" in refusal(capsys, [*command, "--which", "7"])
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--which", "newest"])
    assert "'newest' is neither best nor latest nor a step's number" in capsys.readouterr().err


def test_a_run_becomes_files_and_a_readme(tmp_path, capsys, run):
    output = tmp_path / "out"
    command = ["export", "--checkpoint", str(run), "-o", str(output), "--to", "safetensors", "onnx"]
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    readme = (output / "README.md").read_text()
    assert names(output) == ["README.md", "generator.onnx", "generator.safetensors"]
    for line, name in zip(printed, ["generator.safetensors", "generator.onnx"], strict=True):
        digest = sha256(output / name)
        assert re.match(
            rf"{output}/{name}: at most \S+ from the network on 5 shapes, \d+ bytes, sha256 {digest}$", line
        )
        assert re.search(rf"^\| {name} \| \S+ \| {digest} \|$", readme, re.MULTILINE)
    weights = digest_tree(load_generator(run, field="").variables)
    assert "# tiny: pictures 4 times as wide" in readme and weights in readme and "stablehlo" not in readme
    assert all(len(line) <= 120 for line in readme.splitlines())
    stated = read_metadata(output / "generator.safetensors", "")
    assert stated["name"] == "tiny" and stated["weights_sha256"] == weights

    again = [
        "export",
        "--checkpoint",
        str(output / "generator.safetensors"),
        "-o",
        str(tmp_path / "again"),
        *command[5:],
    ]
    assert main(again) == 0
    assert (output / "generator.onnx").read_bytes() == (tmp_path / "again" / "generator.onnx").read_bytes()
    assert refusal(capsys, command).endswith(
        f"-o: {output} has generator.safetensors, generator.onnx, README.md already; give --overwrite to replace them"
    )
    assert main([*command, "--overwrite"]) == 0
    assert refusal(capsys, [*command[:-1], "--which", "latest"]).endswith(
        "give --overwrite to replace them (README.md would no longer tell of generator.onnx)"
    )


def test_a_signal_leaves_nothing_behind(tmp_path, capsys, monkeypatch, run):
    def terminated(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)

    def missed(number, frame):
        raise AssertionError

    monkeypatch.setattr(export, "_write", terminated)
    before = signal.signal(signal.SIGTERM, missed)
    try:
        command = ["export", "--checkpoint", str(run), "-o", f"{tmp_path}/out", "--to", "safetensors"]
        assert main(command) == 128 + signal.SIGTERM and capsys.readouterr().err == "srgan export: stopped\n"
        assert signal.getsignal(signal.SIGTERM) == missed
    finally:
        signal.signal(signal.SIGTERM, before)
    assert names(tmp_path) == []


@pytest.mark.slow
def test_the_programs_of_the_readme_run(tmp_path, run):
    """Each in a process of its own, on a photograph, against srgan upscale."""
    assert main(["export", "--checkpoint", str(run), "-o", str(tmp_path), "--to", *FORMATS]) == 0
    programs = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    assert programs == [SNIPPETS[name] for name in FORMATS]
    photograph = read_image(SAMPLES / "validation" / "coffee.avif")[40:101, 50:97]
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    expected = tmp_path / "expected.png"
    assert main(["upscale", "-i", f"{tmp_path}/photo.png", "-o", str(expected), "--checkpoint", str(run)]) == 0
    assert read_image(expected).shape == (244, 188, 3)
    for name, program in zip(FORMATS, programs, strict=True):
        without_us = os.environ | {"PYTHONPATH": str(ROOT) if name == "safetensors" else "", "JAX_PLATFORMS": "cpu"}
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=without_us, check=True, timeout=120)
        difference = np.abs(read_image(tmp_path / "big.png").astype(int) - read_image(expected))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01, name
        (tmp_path / "big.png").unlink()


def test_the_documentation_has_the_same_programs():
    text = (ROOT / "docs" / "deploying.md").read_text()
    for name, program in SNIPPETS.items():
        assert f"```python\n{program}```" in text, name


@pytest.mark.parametrize("formats", [["tflite"], ["onnx", "ONNX"], []])
def test_an_unknown_format_is_refused(tmp_path, capsys, run, formats):
    with pytest.raises(SystemExit) as caught:
        main(["export", "--checkpoint", str(run), "-o", str(tmp_path / "out"), "--to", *formats])
    assert caught.value.code == 2 and "--to" in capsys.readouterr().err and names(tmp_path) == []


def test_other_bad_input(tmp_path, capsys, run):
    command = ["export", "-o", str(tmp_path / "out"), "--to", "onnx", "--checkpoint"]
    assert "--checkpoint=/no/run: not a run" in refusal(capsys, [*command, "/no/run"])
    (tmp_path / "file").write_text("precious")
    to_file = ["export", "-o", str(tmp_path / "file"), "--to", "onnx", "--checkpoint", str(run)]
    assert f"-o: {tmp_path}/file is a file; give a folder" in refusal(capsys, [*to_file, "--overwrite"])
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"{}")
    assert f"--checkpoint={damaged}: cannot be read" in refusal(capsys, [*command, str(damaged)])
    copied = tmp_path / "bad\nname"
    shutil.copytree(run, copied)
    assert "rename the run's folder" in refusal(capsys, [*command, str(copied)])
    assert names(tmp_path) == ["bad\nname", "damaged.safetensors", "file"]
