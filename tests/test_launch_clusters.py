"""launch/tpu_pod.sh, without a cloud.

gcloud is a stand-in: it notes its arguments and does the work on this machine, each worker in a folder of its own. What
it cannot show is whether the real one takes these arguments.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"

GCLOUD = """
import json, os, shutil, subprocess, sys, time
from pathlib import Path

arguments = sys.argv[1:]
here = Path(os.environ["CLOUD"])
with (here / "calls").open("a") as file:
    file.write(json.dumps(arguments) + "\\n")
state, queue, workers = here / "state", here / "queue", [here / "worker0", here / "worker1"]
what, options = arguments[3], dict(a.split("=", 1) for a in arguments if a.startswith("--") and "=" in a)
kept = queue if arguments[2] == "queued-resources" else state
if what == "describe":
    if (here / "forbidden").exists():
        sys.exit("ERROR: PERMISSION_DENIED")
    if not kept.exists():
        sys.exit("ERROR: (gcloud.compute.tpus.tpu-vm.describe) NOT_FOUND: Resource was not found")
    said, *later = kept.read_text().split()
    kept.write_text(" ".join(later) or said)
    if said == "OFFLINE":
        sys.exit("ERROR: Failed to establish a new connection")
    print(said)
elif what == "create":
    kept.write_text("WAITING_FOR_RESOURCES ACTIVE" if kept == queue else "CREATING READY")
    state.write_text("CREATING READY")
    for worker in workers:
        worker.mkdir(exist_ok=True)
elif what == "delete":
    kept.unlink()
    for worker in workers:
        shutil.rmtree(worker)
elif what == "scp" and "--recurse" in arguments:
    shutil.copytree(workers[0] / arguments[4].split(":")[1], arguments[5])
elif what == "scp":
    for worker in workers:
        shutil.copy(arguments[4], worker / arguments[5].split(":")[1])
elif what == "ssh":
    running, breaks, lost = [], (here / "broken").exists(), (here / "lost").exists()  # before this command asks for it
    for i, worker in enumerate(workers):
        env = os.environ | {"WORKER": str(i)}
        running.append(subprocess.Popen(["bash", "-c", options["--command"]], cwd=worker, env=env))
        if breaks:  # the connection breaks, and gcloud connects again with the same command
            breaks = False
            (here / "broken").unlink()
            while not (worker / "srgan_jax/ready").exists():
                time.sleep(0.01)
            running.pop().kill()
            running.append(subprocess.Popen(["bash", "-c", options["--command"]], cwd=worker, env=env))
    if lost:  # it stays broken until gcloud gives up; the file says what becomes of the slice
        state.write_text((here / "lost").read_text())
        (here / "lost").unlink()
        while not all((worker / "srgan_jax/ready").exists() for worker in workers):
            time.sleep(0.01)
        for process in running:
            process.kill()
        sys.exit(255)
    sys.exit(next((code for code in [process.wait() for process in running] if code), 0))
"""
# Notes each start and each signal; `wait` waits for one, `code N` ends with N on worker 1, once, `bad N` there, always,
# while the other waits; `until` waits for the file `enough` of the cloud.
TRAINING = """
import os, signal, sys, time
from pathlib import Path

def note(what):
    with Path("notes").open("a") as file:
        file.write(f"{what}\\n")

def save(number, frame):
    if "SLURM_JOB_ID" in os.environ:  # there it may come twice at once, which training takes for one
        signal.signal(number, signal.SIG_IGN)
    note(f"signal {number}")
    time.sleep(0.3)
    os._exit(0)

signal.signal(signal.SIGTERM, save)
note("start")
kind, *rest = sys.argv[1:]
print("says", *rest, flush=True)
Path("ready").touch()
if kind == "wait" or kind == "bad" and os.environ["WORKER"] == "0":
    time.sleep(60)
if kind == "bad":
    sys.exit(int(rest[0]))
while kind == "until" and not Path(os.environ["CLOUD"], "enough").exists():
    time.sleep(0.05)
if kind == "brief":
    time.sleep(1)
if kind == "code" and os.environ.get("WORKER") == "1" and Path("notes").read_text().count("start") == 1:
    sys.exit(int(rest[0]))
"""
PYTHON = [sys.executable, "-S", "train.py"]


def stand_in(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable} -S\n{text}")
    path.chmod(0o755)


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(argv: list, cwd: Path, **environment: str) -> subprocess.Popen:
    env = os.environ | {"PATH": f"{cwd.parent / 'bin'}:{cwd / 'bin'}:{os.environ['PATH']}"} | environment
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 20
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def cloud(tmp_path: Path) -> Callable[..., subprocess.Popen]:
    stand_in(tmp_path, "gcloud", GCLOUD)
    repository = tmp_path / "repository"
    shutil.copytree(LAUNCH, repository / "launch")
    (repository / "train.py").write_text(TRAINING)
    shutil.copy(ROOT / "requirements.txt", repository)
    (repository / "untracked").touch()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    subprocess.run(["git", "add", "launch", "train.py", "requirements.txt"], cwd=repository, check=True)

    def popen(*arguments: str, before: tuple[str, ...] = (), **environment: str) -> subprocess.Popen:
        settings = {"TPU_NAME": "mine", "TPU_ZONE": "there", "TPU_SETUP": "true", "TPU_POLL": "0.01"}
        settings |= {"CLOUD": str(tmp_path), "RESTART_PAUSE": "0.05", "GRACE": "2"}
        return start([*before, "launch/tpu_pod.sh", *arguments], repository, **settings | environment)

    return popen


@pytest.fixture
def pod(tmp_path):
    """pod(*arguments, before=[], **environment) -> tpu_pod.sh, started in a small repository; the cloud is tmp_path."""
    return cloud(tmp_path)


def verbs(folder: Path) -> list[str]:
    return [" ".join(call[2:4]) for call in calls(folder)]


def test_pod_is_created_copied_to_and_trains_on_all_workers(tmp_path, pod):
    options = {"TPU_TYPE": "v5litepod-16", "TPU_OPTIONS": "--spot --network=n", "TPU_PROJECT": "p"}
    code, out, err = ended(pod("train", *PYTHON, "no", "two words", "$HOME;'", **options))
    assert code == 0 and out.count("says two words $HOME;'\n") == 2, err
    describe = ["tpu-vm describe"]
    assert verbs(tmp_path) == [
        *(describe + ["tpu-vm create"] + 2 * describe),
        *("tpu-vm scp", "tpu-vm ssh", "tpu-vm ssh", "tpu-vm ssh"),
    ]
    (created,) = [call for call in calls(tmp_path) if call[3] == "create"]
    assert created[:3] == ["compute", "tpus", "tpu-vm"] and created[4] == "mine"
    wanted = {"--version=v2-alpha-tpuv5-lite", "--accelerator-type=v5litepod-16", "--spot", "--network=n"}
    assert wanted | {"--zone=there", "--quiet", "--project=p"} == set(created[5:])
    for worker in ("worker0", "worker1"):
        assert (tmp_path / worker / "srgan_jax/notes").read_text() == "start\n"
        assert not (tmp_path / worker / "srgan_jax/untracked").exists()
    assert all({"--worker=all", "--batch-size=all"} < set(call) for call in calls(tmp_path) if call[3] == "ssh")


def test_pod_that_is_there_is_used_again_and_fetched_from_and_deleted(tmp_path, pod):
    for _ in range(2):
        assert ended(pod("train", *PYTHON, "no"))[0] == 0
    assert verbs(tmp_path).count("tpu-vm create") == 1
    runs = tmp_path / "worker0/srgan_jax/runs/a"
    runs.mkdir(parents=True)
    (runs / "metrics.jsonl").write_text("{}")
    assert ended(pod("fetch", "runs/a", "fetched"))[0] == 0
    assert (tmp_path / "repository/fetched/metrics.jsonl").read_text() == "{}"
    code, _, err = ended(pod("fetch", "runs/a", "fetched"))
    assert code == 2 and "fetched is there already" in err
    assert ended(pod("delete"))[0] == 0 and not (tmp_path / "state").exists()


@pytest.mark.slow
def test_pod_failure_of_one_worker_gives_the_exit_code_and_restart_tries_again(pod):
    code, _, err = ended(pod("train", *PYTHON, "code", "75", before=("launch/restart.sh",)))
    assert code == 0 and "exit code 75; restart 1 of 20" in err


@pytest.mark.slow
@pytest.mark.parametrize(("said", "created"), [("PREEMPTED", 2), ("READY", 1)])
def test_pod_that_is_preempted_is_not_done(tmp_path, pod, said, created):
    """A machine that shuts down signals every process; training saves and ends with 0, READY or not."""
    process = pod("train", *PYTHON, "until", before=("launch/restart.sh",))
    workers = [tmp_path / f"worker{i}/srgan_jax" for i in range(2)]
    wait_for(*(worker / "ready" for worker in workers))
    (tmp_path / "state").write_text(said)
    for worker in workers:
        os.killpg(int((worker / "run/pid").read_text()), signal.SIGTERM)
    (tmp_path / "enough").touch()
    code, _, err = ended(process)
    assert code == 0 and "exit code 75; restart 1 of 20" in err and "restart 2" not in err
    assert verbs(tmp_path).count("tpu-vm create") == created and verbs(tmp_path).count("tpu-vm delete") == created - 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pod_hears_a_signal_once(tmp_path, pod, number):
    process = pod("train", *PYTHON, "wait", before=("launch/restart.sh",))
    wait_for(*(tmp_path / f"worker{i}/srgan_jax/ready" for i in range(2)))
    process.send_signal(number)
    assert ended(process)[0] == 0
    for i in range(2):
        assert (tmp_path / f"worker{i}/srgan_jax/notes").read_text() == "start\nsignal 15\n"


@pytest.mark.slow
def test_pod_what_still_runs_is_stopped_before_the_next(tmp_path, pod):
    process = pod("train", *PYTHON, "wait")
    wait_for(*(tmp_path / f"worker{i}/srgan_jax/ready" for i in range(2)))
    with process:  # waits for it, and closes its pipes
        process.kill()
    assert ended(pod("train", *PYTHON, "no"))[0] == 0
    assert (tmp_path / "worker1/srgan_jax/notes").read_text() == "start\nsignal 15\nstart\n"


@pytest.mark.slow
def test_pod_through_a_queued_resource(tmp_path, pod):
    assert ended(pod("train", *PYTHON, "no", TPU_QUEUED="1"))[0] == 0
    (created,) = [call for call in calls(tmp_path) if call[3] == "create"]
    assert created[2] == "queued-resources"
    assert {"--node-id=mine", "--runtime-version=v2-alpha-tpuv5-lite"} < set(created)
    (tmp_path / "queue").write_text("SUSPENDED")
    assert ended(pod("train", *PYTHON, "no", TPU_QUEUED="1"))[0] == 0
    assert verbs(tmp_path).count("queued-resources delete") == 1


def test_pod_what_gcloud_refuses_is_said(tmp_path, pod):
    (tmp_path / "forbidden").touch()
    code, _, err = ended(pod("train", *PYTHON, "no"))
    assert code == 1 and "PERMISSION_DENIED" in err and "tpu-vm create" not in verbs(tmp_path)
    assert "usage:" in ended(pod("train"))[2] and ended(pod("nonsense"))[0] == 2
    code, _, err = ended(pod("stop", TPU_NAME=""))
    assert code and "TPU_NAME: the name of the slice" in err
