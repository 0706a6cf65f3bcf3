"""One device, several, several processes; one call or a batch in parts: the same update."""

import gc
import json
import sys
from unittest import mock

import jax
import numpy as np
import pytest
from running import ROOT, command, leaves, logged, run, run_all, spawn, specs, start_all, train
from test_steps import made, some_batch

from configs import tiny, tiny_gan
from srgan_jax.errors import UserError
from srgan_jax.fields import check
from srgan_jax.training import parallel, steps

# plain gradient descent, for Adam hides a gradient's scale; by the seed rounding takes no activation over a kink
SGD = (
    *("steps=5", "checkpoint.every=5", "validation.every=0", "log.every=1", "log.tensorboard=False", "batch_size=8"),
    *("optimizer.name=sgd", "optimizer.learning_rate=0.02", "seed=2", "ema=0.9", "loss.adversarial.kind=relativistic"),
)
NORMS, TERMS = ("g/grad_norm", "d/grad_norm"), ("g/adversarial_grad_norm", "g/pixel_grad_norm")


def distance(a, b):
    """Of the parameters and statistics of two runs, relative."""
    first, second = leaves(a), leaves(b)
    assert first.keys() == second.keys()
    names = [name for name in first if first[name].dtype.kind == "f"]
    squares = sum(np.sum((first[name] - second[name]) ** 2) for name in names)
    return float(np.sqrt(squares / sum(np.sum(first[name] ** 2) for name in names)))


def assert_equal_runs(a, b, name):
    norms, terms = (
        max(abs(logged(b, n)[step] / value - 1) for n in names for step, value in logged(a, n).items())
        for names in (NORMS, TERMS)
    )
    print(f"{name}: parameters differ by {distance(a, b):.1e}, gradient norms by at most {norms:.1e}, relative")
    assert distance(a, b) < 1e-5 and norms < 1e-5 and terms < 5e-5


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one") / "run"
    train("tiny_gan", workdir, *SGD, "data.pipeline=host")
    assert 0.01 < distance_from_start(workdir)
    return workdir


def distance_from_start(workdir):
    first = logged(workdir, "g/loss")
    return abs(first[5] / first[1] - 1)


@pytest.mark.slow
def test_four_devices_equal_one_in_every_mode(tmp_path, on_one):
    modes = ("jit", "pmap", "shard_map")
    arguments = [
        command("tiny_gan", tmp_path / f"{mode}-{pipeline}", *SGD, f"parallel.mode={mode}", f"data.pipeline={pipeline}")
        for mode in modes
        for pipeline in ("host", "device")
    ]
    run_in_turn(arguments, devices=4)
    for mode in modes:
        assert_equal_runs(on_one, tmp_path / f"{mode}-host", f"4 devices, {mode}")
        assert distance(tmp_path / "jit-device", tmp_path / f"{mode}-device") < 1e-5


@pytest.mark.slow
def test_four_devices_equal_one_from_image_to_image(tmp_path):
    """With dropout, a pool of earlier outputs and a discriminator that sees the input."""
    fields = (*SGD, "optimizer.learning_rate=0.002", "optimizer.schedule=constant", "data.pipeline=host")
    train("tiny_pix2pix", tmp_path / "one", *fields)
    modes = ("jit", "pmap", "shard_map")
    arguments = [command("tiny_pix2pix", tmp_path / mode, *fields, f"parallel.mode={mode}") for mode in modes]
    run_in_turn(arguments, devices=4)
    for mode in modes:
        assert_equal_runs(tmp_path / "one", tmp_path / mode, f"pix2pix, 4 devices, {mode}")


def run_in_turn(arguments, devices):
    """Several trainings in one process of so many devices."""
    code = f"from srgan_jax.__main__ import main\nfor line in {json.dumps(arguments)}: assert main(line) == 0"
    process = start_all([[sys.executable, "-c", code]], devices)[0]
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_two_processes_equal_one(tmp_path, on_one, mode):
    fields = (*SGD, "data.pipeline=host", f"parallel.mode={mode}", "validation.every=5")
    outputs = run_all(command("tiny_gan", tmp_path / "two", *fields), processes=2, devices=2)
    assert_equal_runs(on_one, tmp_path / "two", f"2 processes of 2 devices, {mode}")
    assert "from step 0 to 5 on 4 x cpu, 2 processes" in outputs[0] and "step" not in outputs[1]  # the lead speaks
    assert logged(tmp_path / "two", "validation/psnr_y").keys() == {5}


@pytest.mark.slow
def test_a_run_moves_between_topologies(tmp_path):
    """8 devices, 4, 1, 2 processes: the bits that were saved, and the same samples next."""
    run(command("tiny_gan", tmp_path / "run", *SGD, "steps=2", "checkpoint.every=2", "data.pipeline=host"), 8)
    script = [sys.executable, str(ROOT / "tests/training/restored.py"), str(tmp_path / "run")]
    lines = []
    for devices in (8, 4, 1):
        process = start_all([[*script, "off"]], devices)[0]
        lines.append(process.communicate(timeout=120)[0].splitlines()[-1].split())
    pair = start_all([[*script, spec] for spec in specs(2)], 2)
    lines.append([p.communicate(timeout=120)[0] for p in pair][0].splitlines()[-1].split())
    print(*lines, sep="\n")
    assert [line[:3] for line in lines] == [[n, p, "2"] for n, p in zip("8414", "1112", strict=True)]
    assert len({tuple(line[3:]) for line in lines}) == 1
    run_all(command("tiny_gan", tmp_path / "run", *SGD, "steps=4", "data.pipeline=host"), processes=2, devices=2)
    assert leaves(tmp_path / "run")["at"] == 4


def test_a_batch_in_parts_equals_the_whole_without_batch_statistics():
    results = {}
    for parts in (1, 4):
        fields = {"generator__norm": "none", "discriminator__norm": "none", "optimizer__name": "sgd"}
        config, state, update = made(
            tiny_gan.get_config(), **fields, parallel__accumulate=parts, batch_size=16, data__crop=32
        )
        compiled = jax.jit(update).lower(state, {}, some_batch(config), jax.random.key(0)).compile()
        new, metrics = compiled(state, {}, some_batch(config), jax.random.key(0))
        results[parts] = new, metrics, compiled.memory_analysis().temp_size_in_bytes
    (whole, figures, memory), (parted, others, less) = results[1], results[4]
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parted), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    for name, value in figures.items():
        assert float(others[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    print(f"temporary memory of an update: {memory} bytes whole, {less} in 4 parts")
    assert less < memory


def test_parts_scanned_equal_parts_unrolled(monkeypatch):
    config, state, update = made(tiny_gan.get_config(), parallel__accumulate=2, optimizer__name="sgd")
    unrolled, _ = jax.jit(update)(state, {}, some_batch(config), jax.random.key(0))
    monkeypatch.setattr(steps, "unrolls", lambda: False)
    scanned, _ = jax.jit(lambda *arguments: update(*arguments))(state, {}, some_batch(config), jax.random.key(0))
    for a, b in zip(jax.tree.leaves(unrolled), jax.tree.leaves(scanned), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


REPLICA = """
import jax, numpy as np
from configs import tiny_gan
from srgan_jax.training import parallel, start, steps
from srgan_jax.training.call import make_call

rng = np.random.default_rng(0)
hr = rng.integers(0, 256, (1, 8, 16, 16, 3), np.uint8)

def updated(devices, hr, **fields):
    config = tiny_gan.get_config()
    config.batch_size, config.data.augment, config.optimizer.name = 8, False, "sgd"
    config.update_from_flattened_dict(fields)
    layout = parallel.make_layout(config, devices)
    state = start.initial_state(config, layout, resumed=False)
    update = steps.make_update(config, {}, layout.axis_name)
    call = layout.jit(make_call(config, update, lambda fed, i, step, places: fed, layout), batched=True)
    new, _ = call(state, {}, layout.feed(hr, batched=True), layout.flag(False))
    copies = jax.tree.leaves(new.g.batch_stats)[0].addressable_shards
    assert all((np.asarray(c.data) == np.asarray(copies[0].data)).all() for c in copies)
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(jax.device_get((new.g.params, new.d.params)))])

strided = hr.reshape(1, 2, 4, 16, 16, 3).swapaxes(1, 2).reshape(hr.shape)  # device j has what part j has
replica = updated(4, strided, **{"parallel.mode": "shard_map", "parallel.batch_norm": "replica"})
parts = updated(1, hr, **{"parallel.accumulate": 4})
whole = updated(1, hr)
print("differs by", *(np.linalg.norm(replica - other) / np.linalg.norm(other) for other in (parts, whole)))
"""


def test_statistics_of_each_replica_are_those_of_its_part():
    """Against a batch in four parts on one device, whose statistics are each part's as well."""
    process = start_all([[sys.executable, "-c", REPLICA]], 4)[0]
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    replica, whole = map(float, output.split("differs by")[1].split())
    assert replica < 1e-6 < 1e-5 < whole


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    process = spawn(command("tiny", tmp_path / "run", "batch_size=6"), devices=4)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.splitlines() == ["srgan train: config.batch_size=6: not divisible by the 4 devices"]
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_taken_in_parts_is_refused():
    config = tiny.get_config()
    config.parallel.accumulate = 3
    with pytest.raises(UserError, match="batch_size=4: not divisible by the 1 devices times config.parallel.accumul"):
        parallel.make_layout(config)


def test_copies_for_pmap_lie_on_the_devices():
    config = tiny.get_config()
    config.parallel.mode = "pmap"
    layout = parallel.make_layout(config)
    entered = layout.enter(layout.replicate({"x": np.arange(3.0)}))["x"]
    assert isinstance(entered, jax.Array) and entered.shape == (1, 3)  # numpy's would be sent with every call


@pytest.mark.parametrize("mode", ["jit", "pmap", "shard_map"])
def test_a_call_is_compiled_once(mode):
    """What it returns lies where it was first given from."""
    config, traced = tiny.get_config(), []
    config.parallel.mode = mode
    layout = parallel.make_layout(config)

    def call(state, params, fed, flag):
        traced.append(mode)
        return jax.tree.map(lambda x: x + 1, state), {"stop": flag}

    spread = layout.jit(call, batched=False)
    state = layout.enter(layout.replicate({"x": np.arange(3.0)}))
    fed = layout.feed({"hr": np.arange(4)}, batched=False)
    for _ in range(3):
        state, _ = spread(state, {}, fed, layout.flag(False))
    np.testing.assert_array_equal(layout.host(state)["x"], np.arange(3.0) + 3)
    assert traced == [mode]


def test_a_state_is_in_memory_once_under_pmap(tmp_path, monkeypatch):
    """With the copy per device nothing is left of what it was made from."""
    shares, compiled = [], parallel.compiled

    def counting(call, *arguments):
        made = compiled(call, *arguments)

        def counted(state, *rest):
            size = sum(x.nbytes for x in jax.tree.leaves(state))
            gc.collect()
            shares.append((sum(x.nbytes for x in jax.live_arrays()) - before) / size)
            return made(state, *rest)

        return counted

    monkeypatch.setattr(parallel, "compiled", counting)
    gc.collect()
    before = sum(x.nbytes for x in jax.live_arrays())
    train("tiny", tmp_path / "run", *SGD, "steps=3", "parallel.mode=pmap", "data.pipeline=host")
    assert len(shares) == 3 and all(1 <= share < 1.5 for share in shares), shares


def test_devices_of_several_slices_are_one_mesh(monkeypatch):
    config = tiny.get_config()
    whole = parallel.make_layout(config).mesh
    monkeypatch.setattr(jax, "devices", lambda: 2 * jax.local_devices())  # stand for those of two machines
    monkeypatch.setattr(jax, "make_mesh", None)  # it refuses several slices
    slices = iter(range(2))
    monkeypatch.setattr(parallel, "slice_of", lambda device: next(slices))
    mesh = parallel.make_layout(config).mesh
    assert mesh.axis_names == whole.axis_names and mesh.axis_types == whole.axis_types and mesh.size == 2


def test_one_gpu_alone_has_a_graph_unless_told_otherwise(monkeypatch):
    layout = parallel.make_layout(tiny.get_config())
    assert layout.graph() == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "WHILE" in layout.graph()[parallel.GRAPH_FLAG]
    monkeypatch.setenv("XLA_FLAGS", f"--{parallel.GRAPH_FLAG}=")
    assert layout.graph() == {}
    monkeypatch.delenv("XLA_FLAGS")
    two = mock.Mock(size=2)
    assert parallel.Layout(two, "jit", 16).graph() == {}


def test_statistics_of_replicas_need_a_mode_that_has_them():
    config = tiny.get_config()
    config.parallel.batch_norm = "replica"
    with pytest.raises(UserError, match="config.parallel.batch_norm='replica': jit sees the whole batch"):
        check(config)


@pytest.mark.parametrize("spec", ["both", "127.0.0.1,2,0", "127.0.0.1:1234,2,2", "127.0.0.1:1234,2,-1"])
def test_another_spec_is_refused(spec):
    with pytest.raises(UserError, match=f"--distributed={spec}: must be auto, off or HOST:PORT,N,I"):
        parallel.start_processes(spec)


@pytest.mark.parametrize("what", ["config", "weights in config.init_from"])
def test_two_processes_that_would_begin_differently_are_refused(tmp_path, what):
    fields = [("validation.every=0",), ("validation.every=2",)]  # one would wait for the other's figures
    if what != "config":  # each process reads its own, which may be another file of the same name
        fields = [(f"init_from={tmp_path}/{seed}", "seed=5") for seed in ("seed=0", "seed=1")]
        for seed in ("seed=0", "seed=1"):
            train("tiny", tmp_path / seed, seed, "steps=1", "validation.every=0", "log.tensorboard=False")
    given = zip(fields, specs(2), strict=True)
    pair = [spawn(command("tiny", tmp_path / "run", *each, distributed=spec)) for each, spec in given]
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [2, 2], outputs
    assert all(f"process 1 has other {what} than process 0" in output for output in outputs)
    assert not (tmp_path / "run").exists()
