"""Grids, run whole with real trainings in processes of their own."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from running import ROOT, in_this_process, leaves, refusal, spawn

from srgan_jax.__main__ import main
from srgan_jax.evaluation import paper, processes
from srgan_jax.evaluation.grid import load_grid

GRID = """
def get_grid():
    small = ["steps=4", "checkpoint.every=4", "validation.every=4", "log.tensorboard=False"]
    broken = ["loss.feature.weight=1.0", "loss.feature.weights=/no/vgg.npz"]
    rows = {
        "good": {"config": "configs/tiny.py", "overrides": small},
        "broken": {"config": "configs/tiny.py", "overrides": [*small, *broken]},
        "after": {"config": "configs/tiny_gan.py", "overrides": small, "init_from": "broken"},
    }
    return {"seeds": [0, 1], "rows": rows, "sets": ["SET"]}
"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """A grid file beside its own copy of the configs, and a set of two small pictures."""
    folder = tmp_path_factory.mktemp("grid")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "pair").mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / "pair" / f"{name}.png")
    (folder / "grid.py").write_text(GRID.replace("SET", str(folder / "pair")))
    return folder / "grid.py"


@pytest.fixture(scope="module")
def done(grid) -> Path:
    """The workdir of that grid, run once."""
    workdir = grid.parent / "runs"
    assert main(["ablate", f"--grid={grid}", f"--workdir={workdir}"]) == 1
    return workdir


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def test_failed_rows_are_told_and_the_others_go_on(done):
    found = lines(done)
    assert [(line["row"], line["seed"], line["status"]) for line in found] == [
        *(("good", seed, "done") for seed in (0, 1)),
        *(("broken", seed, "failed") for seed in (0, 1)),
        *(("after", seed, "failed") for seed in (0, 1)),
    ]
    good, other, broken, _, after, _ = found
    assert good["step"] == 4 and good["seconds"] > 0
    assert good["figures"]["pair"]["psnr_y"] != other["figures"]["pair"]["psnr_y"]
    assert "config.loss.feature.weights" in broken["reason"] and "/no/vgg.npz" in broken["reason"]
    assert after["reason"] == "starts from broken, which failed or is not trained"
    assert good["differences"] == [] and "discriminator.name: 'none' -> 'srgan'" in after["differences"]
    figures = json.loads((done / "good" / "seed0" / "figures.json").read_text())
    assert figures["methods"][0]["name"] == "bicubic" and list(figures["data"]) == ["pair"]
    assert figures["methods"][1]["sets"]["pair"]["mean"] == good["figures"]["pair"]
    assert "failed" in (done / "report.html").read_text()


def test_what_is_done_starts_no_process(done, grid, capsys):
    def stamps() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in (done / "good").rglob("*")}

    before = stamps()
    assert main(["ablate", f"--grid={grid}", f"--workdir={done}", "--rows", "good"]) == 0
    assert stamps() == before and "training" not in capsys.readouterr().out.replace("s of training", "")
    code = (
        "import sys; from jax._src import xla_bridge; from srgan_jax.__main__ import main\n"
        "assert main(sys.argv[1:]) == 0 and not xla_bridge.backends_are_initialized()"  # devices are the children's
    )
    argv = ["ablate", f"--grid={grid}", f"--workdir={done}", "--rows", "good"]
    subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, check=True)
    assert len(lines(done)) == 6


def test_a_row_waits_for_what_is_at_work_then_goes_on_to_more_steps_and_other_lines_stay(
    done, grid, tmp_path, capsys, monkeypatch
):
    """At work, as far as can be told, is a training whose grid was killed: its output is locked."""
    shutil.copytree(done, tmp_path / "runs")
    arguments = [f"--workdir={tmp_path}/runs", "--rows", "good", "--seeds", "0", "--", "--config.steps=6"]
    with (tmp_path / "runs" / "good" / "seed0" / "train.log").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = SimpleNamespace(sleep=lambda seconds: fcntl.flock(file, fcntl.LOCK_UN))
        monkeypatch.setattr(processes, "time", ended)
        assert main(["ablate", f"--grid={grid}", *arguments]) == 0
    assert "waiting for a process that an earlier call left at work" in capsys.readouterr().out
    before, after = lines(done), lines(tmp_path / "runs")
    assert after[0]["step"] == 6 and after[0]["figures"] != before[0]["figures"] and after[1:] == before[1:]


def test_other_configs_are_refused_before_anything_starts(done, grid, capsys):
    before = (done / "results.jsonl").read_bytes()
    # a new seed's figures would be in one mean with the others', and a new row's on one page
    for seeds in ([], ["--seeds", "7"], ["--rows", "after"]):
        arguments = [f"--grid={grid}", f"--workdir={done}", *seeds, "--", "--config.batch_size=8"]
        assert "good/seed0 is of another config: batch_size: 4 -> 8" in refusal(capsys, ["ablate", *arguments])
    assert (done / "results.jsonl").read_bytes() == before


def test_what_was_removed_is_forgotten_and_what_is_trained_anew_is_measured_anew(done, grid, tmp_path):
    runs = shutil.copytree(done, tmp_path / "runs")
    shutil.rmtree(runs / "good" / "seed1")
    shutil.rmtree(runs / "good" / "seed0" / "checkpoints")
    figures = runs / "good" / "seed0" / "figures.json"
    stale = json.loads(figures.read_text())
    stale["methods"][1]["sets"]["pair"]["mean"]["psnr_y"] = 99.0
    figures.write_text(json.dumps(stale))
    assert main(["ablate", f"--grid={grid}", f"--workdir={runs}", "--rows", "good", "--seeds", "0"]) == 0
    before, after = lines(done), lines(runs)
    assert [line["row"] for line in after] == ["good", "broken", "broken", "after", "after"]
    assert after[0]["figures"] == before[0]["figures"]


def test_a_row_may_begin_from_a_run_of_another_grid(done, grid, monkeypatch, capsys):
    """It is called seedN there, too, and is no row of this one."""
    fields = ["steps=4", "checkpoint.every=4", "validation.every=0", f"init_from={done}/good/seed0"]
    rows = {"more": {"config": "configs/tiny.py", "overrides": [*fields, "log.tensorboard=False"]}}
    found = {"seeds": [0], "rows": rows, "sets": [str(grid.parent / "pair")]}
    (grid.parent / "more.py").write_text(f"def get_grid():\n    return {found}")
    monkeypatch.setattr("srgan_jax.evaluation.ablate.children", in_this_process)
    for times in (1, 0):
        assert main(["ablate", f"--grid={grid.parent}/more.py", f"--workdir={grid.parent}/more"]) == 0
        assert capsys.readouterr().out.count("more seed 0: training") == times


def test_a_second_grid_in_the_same_workdir_is_refused(grid, tmp_path, capsys):
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        line = refusal(capsys, ["ablate", f"--grid={grid}", f"--workdir={tmp_path}"])
    assert f"--workdir={tmp_path}: another process runs a grid there" in line


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["could not be run", "get_grid"]),
        ("def get_grid(:", ["could not be run", "SyntaxError"]),
        ("def get_grid():\n    raise OSError('two\\nlines')", ["could not be run", "OSError: two"]),
        ("def get_grid():\n    return []", ["get_grid() must return"]),
        ("def get_grid():\n    return {'seeds': [0], 'rows': {}, 'sets': ['']}", ["none of them empty"]),
        ("ROW = {'config': 'configs/no.py'}", ["row 'a'", "configs/no.py", "no such file"]),
        ("ROW = {'config': 'configs/tiny.py', 'override': []}", ["row 'a'", "overrides"]),
        ("ROW = {'config': 'configs/tiny.py', 'overrides': 'steps=2'}", ["row 'a'", "must be a list"]),
        ("ROW = {'config': 'configs/tiny.py', 'overrides': ['step=2']}", ["row 'a'", "did you mean steps?"]),
        ("ROW = {'config': 'configs/tiny.py', 'overrides': ['steps=-2']}", ["row 'a'", "config.steps=-2"]),
        ("ROW = {'config': 'configs/tiny.py', 'init_from': 'b'}", ["row 'a'", "no earlier row"]),
        ("ROW, NAME = {'config': 'configs/tiny.py'}, '../a'", ["row '../a'", "a folder's"]),
        ("ROW, SEEDS = {'config': 'configs/tiny.py'}, [0, 0]", ["seeds=[0, 0]", "different whole numbers"]),
        ("ROW, NAME = {'config': 'configs/tiny.py'}, 'bicubic'", ["row 'bicubic'", "bicubic, input, LR or HR"]),
        ("ROW, NAME = {'config': 'configs/tiny.py'}, 'HR'", ["row 'HR'", "stands beside it"]),
        (
            "def get_grid():\n    files = {n: {'config': f'configs/{n}.py'} for n in ('tiny', 'tiny_pix2pix')}\n"
            "    return {'seeds': [0], 'rows': files, 'sets': ['']}",
            ["rows of scale 1 from grey, scale 4 from lr do not compare"],
        ),
        ("ROW, SEEDS = {'config': 'configs/tiny.py'}, 3", ["seeds=3"]),
        ("ROW, SETS = {'config': 'configs/tiny.py'}, ['/no/set']", ["/no/set", "no such folder"]),
        ("ROW, SETS = {'config': 'configs/tiny.py'}, ['', '']", ["different folder names"]),
    ],
)
def test_bad_grids_are_named(grid, tmp_path, capsys, text, parts):
    path = grid.parent / "bad.py"
    rest = "\ndef get_grid():\n    return {'seeds': SEEDS, 'rows': {NAME: ROW}, 'sets': SETS}"
    path.write_text(f"SEEDS, NAME, SETS = [0], 'a', ['']\n{text}{rest if 'ROW' in text else ''}")
    line = refusal(capsys, ["ablate", f"--grid={path}", f"--workdir={tmp_path}/runs"])
    assert all(part in line for part in parts), line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--grid=/no/grid.py"], ["--grid=/no/grid.py", "no such file"]),
        (["--rows", "best"], ["--rows", "'best'", "good, broken, after"]),
        (["--seeds", "-1"], ["--seeds"]),
        (["--set", "/no/set"], ["--set", "/no/set"]),
        (["--", "--config.seed=3"], ["--config.seed=3", "--seeds"]),
        (["--", "--config.batchsize=3"], ["row 'good'", "batchsize"]),
        (["--workdir=GRID"], ["no folder that can be written to"]),
    ],
)
def test_bad_arguments_are_named(grid, tmp_path, capsys, arguments, parts):
    given = [argument.replace("GRID", str(grid)) for argument in arguments]
    line = refusal(capsys, ["ablate", f"--grid={grid}", f"--workdir={tmp_path}/runs", *given])
    assert all(part in line for part in parts), line


def test_shipped_grids_load():
    names = {path.stem: list(load_grid(path, []).rows) for path in (ROOT / "configs" / "grids").glob("*.py")}
    assert names["paper_table1"] == [name for name in paper.TABLE["set5"] if name.startswith("SR")]
    rows = load_grid(ROOT / "configs" / "grids" / "paper_table1.py", ["--config.data.path=x"]).rows
    assert all(row.paper == name and row.config.data.path == "x" for name, row in rows.items())
    assert [row.init_from for row in rows.values()] == ["", "", *["SRResNet-MSE"] * 3]
    assert len(names["quickstart_table1"]) == 5 and len(names["tiny"]) == 2


def test_a_terminal_that_goes_stops_the_process_at_work_too(tmp_path):
    code = (
        "import signal; from pathlib import Path; from srgan_jax.evaluation.processes import *\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # else ignored, where the tests run under nohup
        "try:\n"
        "    with children(print) as child:\n"
        "        print('ready', flush=True)\n"
        f"        child(['http.server', '0'], Path('{tmp_path}/log'))\n"
        "except Stopped: print('stopped')"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=60)[0] == "stopped\n" and process.returncode == 0


@pytest.mark.slow
def test_a_grid_that_is_killed_goes_on_to_the_same_figures(grid, tmp_path, monkeypatch):
    tiny = f"--grid={ROOT}/configs/grids/tiny.py"
    more = ["--seeds", "0", "--set", str(grid.parent / "pair"), "--"]
    fields = "steps=300 checkpoint.every=20 validation.every=0 log.tensorboard=False data.pipeline=device".split()
    more += [f"--config.{field}" for field in fields]

    def arguments(folder: str) -> list[str]:
        return ["ablate", tiny, f"--workdir={tmp_path}/{folder}", *more]

    def interrupted(row: str, number: int) -> str:
        """Output of a grid that got the signal once the row's run had saved something new."""
        folder = tmp_path / "killed" / row / "seed0" / "checkpoints"
        there = set(folder.iterdir()) if folder.exists() else set()
        process, deadline = spawn(arguments("killed")), time.monotonic() + 120
        while not folder.exists() or len({p.name for p in set(folder.iterdir()) - there if p.name.isdigit()}) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == (1 if number == signal.SIGTERM else -number), output
        return output

    assert "stopped by a signal; the same command goes on" in interrupted("tiny", signal.SIGTERM)
    at = leaves(tmp_path / "killed" / "tiny" / "seed0")["at"]
    assert 20 <= at < 300 and not (tmp_path / "killed" / "results.jsonl").exists()
    interrupted("tiny-gan", signal.SIGKILL)
    assert [line["row"] for line in lines(tmp_path / "killed")] == ["tiny"]
    process = spawn(arguments("killed"))
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    with monkeypatch.context() as patch:
        patch.setattr("srgan_jax.evaluation.ablate.children", in_this_process)
        assert main(arguments("straight")) == 0
    killed, straight = lines(tmp_path / "killed"), lines(tmp_path / "straight")
    assert [line["figures"] for line in killed] == [line["figures"] for line in straight] and len(killed) == 2
