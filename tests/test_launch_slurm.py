"""launch/slurm.sbatch, without a cluster.

srun, scancel and scontrol are stand-ins: they note their arguments and do the work on this machine. What they cannot
show is whether the real ones take these arguments.
"""

import shutil
import signal
import subprocess

import pytest
from test_launch_clusters import LAUNCH, PYTHON, TRAINING, calls, ended, stand_in, start, wait_for

# srun kills its task at SIGTERM, as the real one does; scancel sends the task the signal
SLURM = """
import json, os, signal, subprocess, sys
from pathlib import Path

name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
with Path("calls").open("a") as file:
    file.write(json.dumps([name, *arguments]) + "\\n")
if name == "srun":
    command = arguments[arguments.index("--label") + 1 :]
    task = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda number, frame: task.kill())
    Path("task").write_text(str(task.pid))
    code = task.wait()
    sys.exit(code if code >= 0 else 128 - code)
if name == "scancel":
    assert arguments == ["--signal=TERM", os.environ["SLURM_JOB_ID"]]
    os.kill(int(Path("task").read_text()), signal.SIGTERM)
"""


@pytest.fixture
def job(tmp_path):
    """job(*arguments) -> slurm.sbatch, started as SLURM's batch step would be."""
    for name in ("srun", "scancel", "scontrol"):
        stand_in(tmp_path, name, SLURM)
    shutil.copytree(LAUNCH, tmp_path / "launch")
    (tmp_path / "train.py").write_text(TRAINING)

    def popen(*arguments: str) -> subprocess.Popen:
        argv = ["bash", LAUNCH / "slurm.sbatch", *arguments]
        return start(argv, tmp_path, SLURM_JOB_ID="77", SLURM_CPUS_PER_TASK="3", RESTART_PAUSE="0.05", WORKER="1")

    return popen


def test_slurm_starts_all_again_after_a_crash(tmp_path, job):
    code, out, err = ended(job(*PYTHON, "code", "75"))
    assert code == 0 and out == "says 75\n" * 2 and "exit code 75; restart 1 of 20" in err
    first, second = calls(tmp_path)
    assert first == second and first[0] == "srun"
    assert {"--cpus-per-task=3", "--kill-on-bad-exit=1", "--wait=0", "--gpu-bind=none"} < set(first)


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_slurm_saves_before_the_time_limit_and_queues_itself_again(tmp_path, job, number, requeued):
    process = job(*PYTHON, "wait")
    wait_for(tmp_path / "ready")
    process.send_signal(number)
    assert ended(process)[0] == 0
    assert (tmp_path / "notes").read_text() == "start\nsignal 15\n"
    assert (["scontrol", "requeue", "77"] in calls(tmp_path)) == requeued


def test_slurm_bad_input_is_not_run_again(tmp_path, job):
    assert ended(job(*PYTHON, "code", "2"))[0] == 2 and len(calls(tmp_path)) == 1
    assert "usage:" in ended(job())[2]
