"""Bad input: exit code 2 and one line that names the file or field; nothing is written."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from running import ROOT, command, limited, refusal, spawn, train

from srgan_jax import __version__
from srgan_jax.__main__ import COMMANDS, main


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "small.png")
    return folder


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        (["data.source=folder", "data.path=/no/such"], ["config.data.path", "/no/such", "no such folder"]),
        (["data.source=folder"], ["config.data.path"]),
        (["data.source=tfds", "data.name=no_such_set"], ["config.data.name", "no_such_set"]),
        (["batchsize=3"], ["batchsize", "did you mean batch_size?"]),
        (["batch_size=many"], ["batch_size=many"]),
        (["data.crop=18"], ["config.data.crop=18", "multiple of config.scale=4"]),
        (["data.crop=4000"], ["config.data.crop=4000", "larger than every image"]),
        (["init_from=/no/such"], ["config.init_from=/no/such", "not a run"]),
        (["loss.feature.weight=1"], ["config.loss.feature.weights"]),
        (["loss.feature.weight=1", "loss.feature.weights=/no/vgg.npz"], ["config.loss.feature.weights", "/no/vgg.npz"]),
        (["loss.lpips.weight=1"], ["config.loss.lpips.network=vgg", "not here yet", "`srgan convert lpips`"]),
        (["loss.adversarial.weight=1"], ["config.discriminator.name"]),
        (["validation.path=/no/such"], ["config.validation.path", "/no/such"]),
    ],
)
def test_train_refuses(tmp_path, capsys, monkeypatch, fields, parts):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = refusal(capsys, command("tiny", tmp_path / "run", *fields))
    assert all(part in line for part in parts), line
    assert not (tmp_path / "run").exists()


def test_train_refuses_an_empty_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    fields = ["data.source=folder", f"data.path={tmp_path}/empty"]
    assert "holds no image" in refusal(capsys, command("tiny", tmp_path / "run", *fields))


def test_train_refuses_a_missing_config(tmp_path, capsys):
    line = refusal(capsys, ["train", "--config=nowhere.py", f"--workdir={tmp_path}/run"])
    assert "--config=nowhere.py: no such file" in line


def test_train_refuses_a_workdir_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        assert f"--workdir={workdir}" in refusal(capsys, command("tiny", workdir))


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket/run", "file:///run"])
def test_an_address_is_no_workdir(tmp_path, capsys, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    grid = ["ablate", f"--grid={ROOT}/configs/grids/tiny.py", f"--workdir={address}"]
    for arguments in (command("tiny", address), grid):
        line = refusal(capsys, arguments)
        assert "local or mounted folder" in line and f"{address.split('//')[0]}//" in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["r[1]", "*", "what?", "caf\udce9"])
def test_a_name_that_checkpoints_cannot_be_kept_below(tmp_path, capsys, name):
    workdir = tmp_path / name / "run"
    grid = ["ablate", f"--grid={ROOT}/configs/grids/tiny.py", f"--workdir={workdir}"]
    for arguments in (command("tiny", workdir), grid):
        assert "no checkpoint can be kept below a folder with" in refusal(capsys, arguments)
    assert not any(tmp_path.iterdir())


def test_train_refuses_a_workdir_in_use(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process is training there" in refusal(capsys, command("tiny", tmp_path / "run"))


def test_train_refuses_a_workdir_without_locks(tmp_path, capsys, monkeypatch):
    def none(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    said = refusal(capsys, command("tiny", tmp_path / "run"))
    assert f"--workdir={tmp_path}/run: No locks available: its file system has no locks; mount it" in said


def test_training_that_diverges_stops_and_says_how_to_look_at_it(tmp_path, capsys):
    run = tmp_path / "run"
    fields = ("optimizer.learning_rate=1e30", "generator.norm=none", "validation.every=0", "checkpoint.every=10")
    capsys.readouterr()
    assert main(command("tiny", run, *fields, "guard.patience=2", "guard.rollbacks=1")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "training diverged again at update 1" in last and f"srgan replay --workdir {run}" in last
    assert not any((run / "checkpoints").iterdir())
    older = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(older | {"batch_size": 3}))  # of another run, begun there since
    assert main(["replay", f"--workdir={run}"]) == 0
    figures = capsys.readouterr().out
    (run / "diverged" / "config.json").unlink()
    del older["generator"]["growth"], older["discriminator"]["stages"], older["loss"]["feature"]["kind"]
    (run / "config.json").write_text(json.dumps(older))
    assert main(["replay", f"--workdir={run}"]) == 0  # of an older version as well
    assert capsys.readouterr().out == figures
    figures = dict(line.split()[:2] for line in figures.splitlines())
    assert figures["step"] == "1" and figures["g/loss"] in ("nan", "inf")
    assert float(figures["g/learning_rate"]) == pytest.approx(5e29)  # after one rollback
    batch = run / "diverged" / "batch.npz"
    batch.write_bytes(batch.read_bytes()[:1000])
    assert f"{batch}: damaged" in refusal(capsys, ["replay", f"--workdir={run}"])
    assert main(["replay", f"--workdir={tmp_path}"]) == 2


def test_a_damaged_checkpoint_is_named(tmp_path, tiny_run):
    """In a process of its own: Orbax leaves unfinished reads behind, of which Python tells at exit."""
    shutil.copytree(tiny_run, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "2" / "state" / "ocdbt.process_0" / "d").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    process = spawn(["evaluate", "--checkpoint", str(tmp_path / "run")])
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert any(
        line.startswith("srgan evaluate: ") and "checkpoints/2" in line and "damaged" in line
        for line in output.splitlines()
    )


def test_a_damaged_config_is_named(tmp_path, capsys, tiny_run):
    shutil.copytree(tiny_run, tmp_path / "run")
    for text in ("{}", "[1]", "{", "\xff"):
        (tmp_path / "run" / "config.json").write_text(text)
        assert "config.json: damaged" in refusal(capsys, ["evaluate", "--checkpoint", str(tmp_path / "run")])


def test_train_says_how_to_get_feature_weights(tmp_path, capsys):
    line = refusal(capsys, command("tiny", tmp_path / "run", "loss.feature.weight=1"))
    assert ".npz" in line and ".safetensors" in line and "README" in line


def test_warm_start_refuses_another_architecture(tmp_path, capsys, tiny_run):
    line = refusal(capsys, command("tiny", tmp_path / "run", f"init_from={tiny_run}", "generator.blocks=2"))
    assert "config.init_from" in line and "generator.blocks: 1 there, 2 here" in line
    line = refusal(capsys, command("tiny", tmp_path / "run", f"init_from={tiny_run}", "generator.name=msrresnet"))
    assert "generator.name: 'SRResNet' there, 'MSRResNet' here" in line and not (tmp_path / "run").exists()


def test_warm_start_from_a_run_that_is_older_than_a_field(tmp_path, tiny_run):
    """The field's default is what that run was trained with."""
    shutil.copytree(tiny_run, tmp_path / "old")
    config = json.loads((tiny_run / "config.json").read_text())
    del config["generator"]["norm_epsilon"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    train("tiny", tmp_path / "new", f"init_from={tmp_path}/old", "steps=2", "checkpoint.every=2", "validation.every=0")


def test_warm_start_refuses_a_run_without_a_checkpoint(tmp_path, capsys, tiny_run):
    empty = tmp_path / "begun"
    empty.mkdir()
    (empty / "config.json").write_text((tiny_run / "config.json").read_text())
    assert "no checkpoint yet" in refusal(capsys, command("tiny", tmp_path / "run", f"init_from={empty}"))


def test_resuming_with_another_config_names_the_fields_and_changes_nothing(capsys, tiny_run):
    before = (tiny_run / "config.json").read_bytes()
    line = refusal(capsys, command("tiny", tiny_run, "steps=4", "batch_size=8", "loss.pixel.kind=l1"))
    assert "batch_size: 4 -> 8" in line and "loss.pixel.kind: 'mse' -> 'l1'" in line
    assert (tiny_run / "config.json").read_bytes() == before


def test_too_large_a_batch_is_named(tmp_path):
    """With memory that ends for real, at 6 GB of addresses."""
    done = limited(command("quickstart", tmp_path / "run", "batch_size=32768"), 6)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "batch_size=32768" in line and "accumulate" in line, done.stderr
    assert "Traceback" not in done.stderr


def test_resuming_with_other_photographs_is_refused(tmp_path, capsys, pictures):
    fields = ["data.source=folder", f"data.path={pictures}", "steps=2", "checkpoint.every=2", "validation.every=0"]
    fields += ["data.store=none"]  # preparing one would say so
    train("tiny", tmp_path / "run", *fields)
    Image.fromarray(np.ones((40, 50, 3), np.uint8)).save(pictures / "another.png")
    line = refusal(capsys, command("tiny", tmp_path / "run", *fields, "steps=4"))
    assert "began with other photographs" in line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["evaluate", "--checkpoint", "/no/run"], ["--checkpoint=/no/run", "not a run"]),
        (["evaluate", "--checkpoint", "RUN", "--hr", "/no/hr"], ["--hr=/no/hr", "no such folder"]),
        (["evaluate", "--checkpoint", "RUN", "--hr", "PICTURES", "--lr", "PICTURES"], ["small", "not 4 to 1"]),
        (["upscale", "-i", "/no/picture.jpg", "-o", "x.png", "--checkpoint", "RUN"], ["-i", "/no/picture.jpg"]),
        (["upscale", "-i", "PICTURES/small.png", "-o", "x.gif", "--checkpoint", "RUN"], ["-o", "x.gif", ".png"]),
        (["upscale", "-i", "PICTURES", "-o", "x", "--checkpoint", "/no/run"], ["--checkpoint=/no/run"]),
        (["data", "check", "/no/such"], ["/no/such", "no such folder"]),
        (["data", "check", "PICTURES", "--crop", "0"], ["--crop=0", "must be 1 or more"]),
        (["data", "check", ""], ["an argument: is empty"]),
        (["data", "prepare", "PICTURES", "-o", "none"], ["-o none", "give another name"]),
        (
            command("tiny_gan", "x", "discriminator.norm=instance", "discriminator.stages=6"),
            ["config.discriminator.stages=6", "lower it"],
        ),
        (command("tiny", "x", "data.path=/a"), ["config.data.path='/a'", "set data.source to folder or tfds"]),
        (command("quickstart", "x", "data.source=folder", "data.name=div2k"), ["config.data.name='div2k'", "to tfds"]),
        (["upscale", "-i", "PICTURES", "", "-o", "x"], ["-i: is empty"]),
        (["upscale", "-i", "PICTURES", "-o", "", "--suffix", ""], ["-o: is empty"]),
        (["train", "--config=tiny.py", "--workdir="], ["--workdir: is empty"]),
        (["data", "check", "PICTURES"], ["PICTURES", "none of the 1 images is usable for crops of 96"]),
    ],
)
def test_other_commands_refuse(capsys, tiny_run, pictures, arguments, parts):
    def real(text: str) -> str:
        return text.replace("PICTURES", str(pictures)).replace("RUN", str(tiny_run))

    line = refusal(capsys, [real(argument) for argument in arguments])
    assert all(real(part) in line for part in parts), line


def test_validation_on_pictures_that_are_too_small_names_the_folder(tmp_path, capsys):
    small = tmp_path / "small"
    small.mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(small / "a.png")
    for crop, said in (
        (0, f"config.validation.path={small}: 32, the least side, is"),
        (48, "config.validation.crop=48:"),
    ):
        fields = f"validation.path={small}", f"validation.crop={crop}"
        assert f"{said} larger than every image" in refusal(capsys, command("tiny", tmp_path / "run", *fields))


STRICT = {"PYTHONIOENCODING": "utf-8:strict"}  # as under a locale of UTF-8


def test_names_that_are_no_text_do_no_harm(tmp_path):
    """From old archives: not UTF-8, and with what would colour a terminal."""
    folder = tmp_path / os.fsdecode(b"of \xe9t\xe9")
    folder.mkdir()
    for name, side in ((b"a\xff.png", 64), (b"b\xff\x1b[31m.png", 64), (b"small\xff\x1b[31m\n.png", 20)):
        Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"bad\xff.png")).write_bytes(b"hello")

    def said(*arguments: str) -> str:
        argv = [sys.executable, "-m", "srgan_jax", *arguments]
        done = subprocess.run(argv, cwd=ROOT, env=os.environ | STRICT, capture_output=True, text=True)
        assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr, done.stderr
        return done.stdout + done.stderr

    checked = said("data", "check", str(folder), "--crop", "32")
    assert r"small\udcff\x1b[31m\n.png: too small" in checked and "2 usable, 1 too small, 1 broken" in checked
    assert "2 photographs ready in" in said("data", "prepare", str(folder), "--crop", "32")
    (folder / os.fsdecode(b"bad\xff.png")).unlink()
    measured = said("evaluate", "--set", str(folder), "--lpips", "--each", "--json", str(tmp_path / "figures.json"))
    assert r"a\udcff.png" in measured and "mean of 3" in measured
    fields = ("data.source=folder", f"data.path={folder}", "steps=2", "checkpoint.every=2", "validation.every=0")
    assert r"skipped" in said(*command("tiny", tmp_path / "run", *fields, "data.crop=32"))


def test_an_unknown_command_lists_the_known(capsys):
    assert main(["enlarge"]) == 2
    assert ", ".join(COMMANDS) in capsys.readouterr().err


def test_the_version(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"srgan {__version__}\n"


def test_a_home_directory_behind_an_equals_sign_is_meant(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"--checkpoint={tmp_path}/run:" in refusal(capsys, ["evaluate", "--checkpoint=~/run"])


def test_no_command_prints_the_commands(capsys):
    assert main([]) == 2 and main(["--help"]) == 0
    assert "evaluate" in capsys.readouterr().out


def test_the_module_exits_with_the_code_and_no_traceback():
    argv = [sys.executable, "-m", "srgan_jax", "upscale", "-i", "/no", "-o", "x.png", "--checkpoint", "/no"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
