"""launch/slurm.sbatch, without a cluster.

srun, scancel and scontrol are stand-ins: they note their arguments and do the work on this machine. What they cannot
show is whether the real ones take these arguments.
"""

import os
import shutil
import signal
import subprocess

import pytest
from test_launch_clusters import LAUNCH, PYTHON, TRAINING, calls, ended, stand_in, start, wait_for

# srun has two tasks, WORKER 0 and 1, each in a folder of its own. When one fails it kills the other, as it does both at
# SIGTERM, and ends with the highest code; scancel signals the tasks, and where SIGNALS=children all that they started
SLURM = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
with Path("calls").open("a") as file:
    file.write(json.dumps([name, *arguments]) + "\\n")
if name == "srun":
    command, tasks = arguments[arguments.index("--label") + 1 :], []
    for worker in "01":
        env = os.environ | {"WORKER": worker}
        tasks.append(subprocess.Popen(command, start_new_session=True, env=env, cwd=worker))
    Path("tasks").write_text(" ".join(str(task.pid) for task in tasks))

    def kill(number=0, frame=None):
        for task in tasks:
            if task.poll() is None:
                os.killpg(task.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    while any(task.poll() is None for task in tasks):
        if any(task.poll() for task in tasks):
            kill()
        time.sleep(0.01)
    sys.exit(max(task.returncode if task.returncode >= 0 else 128 - task.returncode for task in tasks))
if name == "scancel":
    assert arguments == ["--signal=TERM", os.environ["SLURM_JOB_ID"]]
    for pid in Path("tasks").read_text().split():
        (os.killpg if os.environ.get("SIGNALS") == "children" else os.kill)(int(pid), signal.SIGTERM)
"""


@pytest.fixture
def job(tmp_path):
    """job(*arguments) -> slurm.sbatch, started as SLURM's batch step would be."""
    for name in ("srun", "scancel", "scontrol"):
        stand_in(tmp_path, name, SLURM)
    shutil.copytree(LAUNCH, tmp_path / "launch")
    for worker in "01":
        (tmp_path / worker).mkdir()
        (tmp_path / worker / "train.py").write_text(TRAINING)

    def popen(*arguments: str) -> subprocess.Popen:
        argv = ["bash", LAUNCH / "slurm.sbatch", *arguments]
        return start(argv, tmp_path, SLURM_JOB_ID="77", SLURM_CPUS_PER_TASK="3", RESTART_PAUSE="0.05")

    return popen


def test_slurm_starts_all_again_after_a_crash(tmp_path, job):
    code, out, err = ended(job(*PYTHON, "code", "75"))
    assert code == 0 and "says 75\n" in out and "restart 1 of 20" in err
    assert (tmp_path / "1" / "notes").read_text() == "start\n" * 2
    first, second = calls(tmp_path)
    assert first == second and first[0] == "srun"
    assert {"--cpus-per-task=3", "--kill-on-bad-exit=1", "--wait=0", "--gpu-bind=none"} < set(first)


@pytest.mark.parametrize("signals", ["task", "children"])
@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_slurm_saves_before_the_time_limit_and_queues_itself_again(
    tmp_path, job, number, requeued, signals, monkeypatch
):
    monkeypatch.setenv("SIGNALS", signals)
    process = job(*PYTHON, "wait")
    wait_for(tmp_path / "0" / "ready", tmp_path / "1" / "ready")
    process.send_signal(number)
    assert ended(process)[0] == 0 and not list(tmp_path.glob(".bad-input*"))
    assert {(tmp_path / worker / "notes").read_text() for worker in "01"} == {"start\nsignal 15\n"}
    assert (["scontrol", "requeue", "77"] in calls(tmp_path)) == requeued


@pytest.mark.parametrize("tell", [os.kill, os.killpg])
def test_slurm_queues_itself_again_when_the_tasks_alone_are_told(tmp_path, job, tell):
    """A job that is preempted with time to save: SLURM signals the steps, not the batch script."""
    process = job(*PYTHON, "wait")
    wait_for(tmp_path / "0" / "ready", tmp_path / "1" / "ready")
    for pid in (tmp_path / "tasks").read_text().split():
        tell(int(pid), signal.SIGTERM)
    assert ended(process)[0] == 0
    assert {(tmp_path / worker / "notes").read_text() for worker in "01"} == {"start\nsignal 15\n"}
    assert calls(tmp_path)[1:] == [["scontrol", "requeue", "77"]]
    assert not list(tmp_path.glob(".bad-input*"))


def test_slurm_what_a_step_before_was_told_does_not_count(tmp_path, job):
    """srun may tell the others to end when one crashed; all are started again, and get done."""
    (tmp_path / ".bad-input-77.told").touch()
    assert ended(job(*PYTHON, "no"))[0] == 0
    assert len(calls(tmp_path)) == 1 and not list(tmp_path.glob(".bad-input*"))


@pytest.mark.parametrize("code", [2, 126, 127])
def test_slurm_bad_input_is_not_run_again(tmp_path, job, code):
    """srun itself ends with 137, since it kills the other task."""
    assert ended(job(*PYTHON, "bad", str(code)))[0] == code and len(calls(tmp_path)) == 1
    assert not list(tmp_path.glob(".bad-input*"))


def test_slurm_arguments(tmp_path, job):
    assert "usage:" in ended(job())[2] and calls(tmp_path) == []


@pytest.mark.parametrize(("tasks", "gpus"), [("8", "4"), ("8", "h100:4")])
def test_slurm_takes_one_process_for_each_gpu(tmp_path, job, monkeypatch, tasks, gpus):
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", tasks)
    monkeypatch.setenv("SLURM_GPUS_PER_NODE", gpus)
    code, _, err = ended(job(*PYTHON, "no"))
    assert code == 2 and calls(tmp_path) == []
    assert err == "slurm: one process for each GPU: --ntasks-per-node=8 must be --gpus-per-node=4\n"
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    assert ended(job(*PYTHON, "no"))[0] == 0
