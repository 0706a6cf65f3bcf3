"""launch/tpu_pod.sh: how workers are prepared, and connections that break; with the stand-ins of the other file."""

import shutil
import signal
import subprocess
import time

import pytest
from test_launch_clusters import PYTHON, cloud, ended, stand_in, wait_for


@pytest.fixture
def pod(tmp_path):
    return cloud(tmp_path)


@pytest.mark.slow
def test_pod_connection_that_breaks_does_not_start_a_second_training(tmp_path, pod):
    (tmp_path / "worker0").mkdir()
    process = pod("train", *PYTHON, "brief", TPU_SETUP=f"touch {tmp_path}/broken; rm -f ready")
    assert ended(process)[0] == 0
    assert not (tmp_path / "broken").exists()
    assert (tmp_path / "worker0/srgan_jax/notes").read_text() == "start\n"


@pytest.mark.slow
@pytest.mark.parametrize(("state", "expected"), [("READY", 0), ("OFFLINE OFFLINE READY", 0), ("PREEMPTED", 75)])
def test_pod_is_watched_again_after_a_long_break(tmp_path, pod, state, expected):
    process = pod("train", *PYTHON, "until", TPU_SETUP=f"rm -f ready; echo {state} >{tmp_path}/lost")
    wait_for(tmp_path / "lost")
    while (tmp_path / "lost").exists():
        time.sleep(0.02)
    time.sleep(1)
    (tmp_path / "enough").touch()
    assert ended(process)[0] == expected
    for i in range(2):
        assert (tmp_path / f"worker{i}/srgan_jax/notes").read_text() == "start\n"


@pytest.mark.slow
def test_pod_that_is_stopped_while_it_cannot_be_asked_is_waited_for_no_longer(tmp_path, pod):
    process = pod("train", *PYTHON, "wait", TPU_SETUP=f"rm -f ready; echo OFFLINE >{tmp_path}/lost")
    assert any("new connection" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 255


def test_pod_copies_without_the_options_of_gnu(tmp_path, pod):
    """On macOS; and a file that git tracks but is gone stays out."""
    stand_in(tmp_path, "mktemp", f"import sys\nsys.argv[1:] and sys.exit(1)\nprint({str(tmp_path / 'archive')!r})")
    tar = 'import os, sys\n"--ignore-failed-read" in sys.argv and sys.exit("tar: not supported")\n'
    stand_in(tmp_path, "tar", tar + f"os.execv({shutil.which('tar')!r}, sys.argv)")
    (tmp_path / "repository/two words").touch()
    subprocess.run(["git", "add", "two words"], cwd=tmp_path / "repository", check=True)
    (tmp_path / "repository/launch/README.md").unlink()
    code, _, err = ended(pod("train", *PYTHON, "no"))
    assert code == 0, err
    copied = tmp_path / "worker1/srgan_jax"
    assert (copied / "two words").exists() and not (copied / "launch/README.md").exists()


@pytest.mark.slow
def test_pod_setup_waits_for_what_a_fresh_machine_installs(tmp_path, pod):
    """Its own updates hold the locks of apt: `update` is tried again, since only `install` can wait for one."""
    sudo = """
import sys
from pathlib import Path
with Path("sudo").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
sys.exit("update" in sys.argv and Path("sudo").read_text().count("update") == 1)
"""
    python = """
from pathlib import Path
Path(".venv/bin").mkdir(parents=True)
Path(".venv/bin/pip").write_text("#!/bin/sh")
Path(".venv/bin/pip").chmod(0o755)
"""
    for name, text in {"sudo": sudo, "python3.11": python, "sleep": "", "mountpoint": "exit(1)"}.items():
        stand_in(tmp_path, name, text)
    code, _, err = ended(pod("train", "true", TPU_SETUP="", TPU_NFS="server:/share"))
    assert code == 0, err
    update, again, install, *mount = (tmp_path / "worker1/srgan_jax/sudo").read_text().splitlines()
    assert update == again == "apt-get -q update"
    assert install == "apt-get -qy -o DPkg::Lock::Timeout=300 install nfs-common"
    assert mount == ["mount -t nfs server:/share runs", "chmod a+rwx runs"]
