"""The launchers with real training: killed, started again, gone on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from running import ROOT, command, leaves, logged


@pytest.mark.slow
def test_a_killed_process_of_two_is_started_again_with_the_other_and_training_goes_on(tmp_path):
    fields = ("steps=200", "checkpoint.every=10", "log.every=1", "validation.every=0", "log.tensorboard=False")
    train = [a for a in command("tiny", tmp_path / "run", *fields) if not a.startswith("--distributed")]
    argv = ["launch/restart.sh", "launch/local.sh", "2", "python", "-m", "srgan_jax", *train]
    env = os.environ | {"RESTART_PAUSE": "0", "MAX_RESTARTS": "2", "JAX_PLATFORMS": "cpu"}
    env["PATH"] = f"{os.path.dirname(sys.executable)}:{env['PATH']}"
    with (tmp_path / "log").open("w+") as log:
        launcher = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 200
            while not (tmp_path / "run" / "checkpoints" / "10").exists():
                assert time.monotonic() < deadline and launcher.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            found = subprocess.run(
                ["pgrep", "-f", f"srgan_jax train.*{tmp_path}.*,2,1$"], capture_output=True, text=True
            )
            os.kill(int(found.stdout.split()[-1]), signal.SIGKILL)
            assert launcher.wait(timeout=200) == 0
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
        told = (tmp_path / "log").read_text()
    assert told.count("restart: exit code") == 1 and "local: process" in told
    assert "[0] " in told and f"{tmp_path}/run from step " in told
    assert leaves(tmp_path / "run")["at"] == 200 and logged(tmp_path / "run", "g/loss").keys() == set(range(1, 201))
