"""How a process joins the others of its run, and what they must share."""

import os
import shutil
import signal
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
import pytest
from running import ROOT, command, spawn, spawn_all, specs, start_all

from configs import tiny
from srgan_jax.training import parallel
from srgan_jax.weights.fetch import cache_dir

JOINED = """
import sys, time
from srgan_jax.training import parallel
parallel.start_processes(sys.argv[1])
print("joined", flush=True)
time.sleep(60)
"""


def test_sigterm_ends_a_process_that_does_not_train_yet():
    """jax's own handler would swallow it, and every later one."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    argv = [sys.executable, "-c", JOINED, *specs(1)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "joined\n"
            process.terminate()
            assert process.wait(timeout=20) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("tasks", "gpus", "own"),
    [("1", "4", [0, 1, 2, 3]), ("1(x3)", "2", [0, 1]), ("4", "4", None), ("4(x2)", "4", None), ("1", "", None)],
)
def test_the_only_process_of_a_node_drives_all_its_gpus(monkeypatch, tasks, gpus, own):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: asked.append(options["local_device_ids"]))
    for name in ("OMPI_COMM_WORLD_SIZE", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", gpus)
    parallel.start_processes("auto")
    monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "0")  # which jax reads itself
    parallel.start_processes("auto")
    assert asked == [own, None]


def test_a_launcher_that_jax_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    process = spawn(command("tiny", tmp_path / "run", distributed="auto"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and not (tmp_path / "run").exists()
    reason = "the processes did not find each other (jax does not know this launcher; give HOST:PORT,N,I, or off)"
    assert output == f"srgan train: --distributed=auto: {reason}\n"


def test_pmap_has_the_devices_of_each_process_side_by_side(monkeypatch):
    """In the ring that jax.make_mesh finds on a slice of v5e processes alternate."""
    config = tiny.get_config()
    config.parallel.mode = "pmap"
    ring = [mock.Mock(process_index=index, slice_index=0) for index in (0, 1, 1, 0)]
    monkeypatch.setattr(jax, "devices", lambda: ring)
    monkeypatch.setattr(jax, "make_mesh", lambda *shape, devices, **options: mock.Mock(devices=np.asarray(devices)))
    monkeypatch.setattr(parallel, "Mesh", lambda devices, *axes, **options: mock.Mock(devices=devices))
    assert [device.process_index for device in parallel.make_layout(config).mesh.devices] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "words",  # jax's, after 5 minutes
    [
        "Failed to recognize coordinator address worker-0:8476",
        "DEADLINE_EXCEEDED: Barrier timed out. Id: worker-0:8476",
    ],
)
def test_processes_that_come_late_are_waited_for_by_the_launcher(monkeypatch, words):
    """A pod that waits for its machine: what ends with 2 is not started again."""

    def late(*processes, **options):
        raise RuntimeError(words)

    monkeypatch.setattr(jax.distributed, "initialize", late)
    with pytest.raises(RuntimeError, match="worker-0:8476"):
        parallel.start_processes("auto")


@pytest.mark.slow
def test_a_file_out_of_reach_is_one_line_of_each_process(tmp_path):
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)
    pair = spawn_all(command("tiny", tmp_path / "run", "steps=2", "validation.every=0"), 2)
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert pair[0].returncode == 2, outputs
    assert f"srgan train: {tmp_path}/run/metrics.jsonl: Is a directory; give a path" in outputs[0]
    assert "Traceback" not in outputs[0]


@pytest.mark.parametrize("named", [False, True])
def test_gpus_of_several_processes_keep_programs_only_where_they_are_told_to(monkeypatch, named):
    for name, value in (("process_count", 2), ("default_backend", "gpu")):
        monkeypatch.setattr(jax, name, lambda value=value: value)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *processes, **options: None)
    folder = "/shared/programs" if named else str(cache_dir() / "programs")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
    assert jax.config.jax_enable_compilation_cache
    try:
        parallel.start_processes("127.0.0.1:1234,2,0")
        assert jax.config.jax_enable_compilation_cache == named
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


@pytest.mark.slow
def test_processes_that_see_different_folders_are_refused(tmp_path):
    """Such as a workdir on each machine's own disk: a start anew would find a run in one of them alone."""
    given = zip("ab", specs(2), strict=True)
    pair = [spawn(command("tiny", tmp_path / name, "steps=2", distributed=spec)) for name, spec in given]
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [2, 2], outputs
    for name, output in zip("ab", outputs, strict=True):
        folder = f"--workdir={tmp_path / name}, which must be one folder for all,"
        assert f"process 1 has other files in {folder} than process 0; start all alike" in output
        assert list((tmp_path / name).iterdir()) == []


@pytest.mark.slow
def test_processes_that_see_different_photographs_are_refused(tmp_path, photographs):
    """Such as a copy of them on each machine's own disk, of which one is not whole."""
    shutil.copytree(photographs, tmp_path / "part" / "photographs")
    (tmp_path / "part" / "photographs" / "e.png").unlink()
    fields = ("data.source=folder", "data.path=photographs", "steps=2", "validation.every=0")
    pair = start_all(
        [
            ["env", "-C", str(folder), sys.executable, "-m", "srgan_jax"]
            + command("tiny", tmp_path / "run", *fields, distributed=spec)
            for folder, spec in zip((tmp_path, tmp_path / "part"), specs(2), strict=True)
        ]
    )
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [2, 2], outputs
    assert all("process 1 has other photographs than process 0; start all alike" in output for output in outputs)
    assert not (tmp_path / "run").exists()
