"""Every benchmark runs at --quick: it compares equal things, prints its table, and notices what is not equal."""

import multiprocessing
import os
import re
import subprocess
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import torch

from benchmarks import cpu_speed, large_picture, startup, torch_peer, train_speed, trainings, upscale_speed
from benchmarks.apart import apart
from benchmarks.flops import generator_flops, lpips_flops, update_flops
from benchmarks.side_by_side import Contender, check_equal, full_precision, interleave, ratio
from configs import srgan_lpips
from srgan_jax.models.build import build_generator
from srgan_jax.models.lpips import LPIPS


def row_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table_of(capsys, cells: int) -> tuple[str, list[list[str]]]:
    """(what stands before the table, its rows)."""
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {cells + 1}, text
    return text, [row_of(line) for line in lines[2:]]


def test_where_the_time_goes(capsys, tmp_path):
    assert train_speed.main(["--quick", "--only", "ours", "--kind", "SRResNet", "--profile", f"{tmp_path}"]) == 0
    text = capsys.readouterr().out
    (head,) = re.findall(r"^SRResNet, 2, ours\n\n\| kernel \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [row_of(line) for line in head.splitlines()]
    assert any("convolution" in row[0] for row in rows) and all(float(row[1]) > 0 < float(row[2]) for row in rows)
    assert sum(float(row[3].removesuffix(" %")) for row in rows) == pytest.approx(100, abs=20)
    count, busy, span, share = map(
        float, re.search(r"(\d+) kernels .*works (\d+) us of (\d+) \((\d+) %\)", text).groups()
    )
    assert count > 50 and 0 < busy <= span and share == pytest.approx(100 * busy / span, abs=2)
    assert list(tmp_path.rglob("SRResNet_2_ours/**/*.xplane.pb"))


@pytest.mark.slow
def test_train_speed(capsys):
    assert train_speed.main(["--quick"]) == 0
    text, rows = table_of(capsys, cells=9)
    for kind in ("SRResNet", "SRGAN"):
        assert f"{kind}, update 3: equal within" in text
        assert [row[2] for row in rows if row[0] == kind] == ["ours", "torch, eager", "torch, channels_last"]
    for row in rows:
        milliseconds, images, gflop = float(row[3]), float(row[4]), float(row[6])
        assert images == pytest.approx(2 * 1000 / milliseconds, rel=1e-2) and gflop > 0
    best = min(float(row[3]) for row in rows[1:3])
    assert float(rows[0][5]) == pytest.approx(float(rows[0][3]) / best, abs=0.02)


def test_upscale_speed(capsys):
    assert upscale_speed.main(["--quick"]) == 0
    text, rows = table_of(capsys, cells=7)
    assert "equal pictures from equal weights" in text
    assert [row[0] for row in rows] == ["24x16 to 96x64"] * 3 and float(rows[0][4]) > 0


def test_our_memory_of_enlarging_is_of_the_one_picture():
    config = trainings.load("SRResNet", quick=True)
    variables, program = upscale_speed.weights(config), upscale_speed.make_program(build_generator(config))
    large, small = (
        upscale_speed.our_memory(program, variables, upscale_speed.picture(size)) for size in ("96x64", "24x16")
    )
    features, picture = 4 * 8 * (4 * 24) * (4 * 16), 3 * (4 * 24) * (4 * 16)  # before the last convolution; after it
    assert small > features + picture and 8 < large / small < 20  # 16 times the pixels


def test_what_was_timed_is_not_compiled_again_for_its_memory(caplog):
    config, lr = trainings.load("SRResNet", True), upscale_speed.picture("12x8")
    contender = upscale_speed.contenders(config, lr, Namespace(only="ours"))["ours"]
    with jax.log_compiles(), caplog.at_level("WARNING", "jax"):
        contender.run(1)
        before = caplog.text
        assert before.count("Compiling jit(apply)") == 1 and contender.memory() > 3 * 16 * 12 * 8
    assert caplog.text == before


@pytest.mark.slow
def test_cpu_speed(capsys):
    assert cpu_speed.main(["--quick", "--plain", "--kind", "SRResNet"]) == 0
    text, rows = table_of(capsys, cells=6)
    assert [row[0] for row in rows] == ["enlarge 24x16", "SRResNet update, batch 2"]
    assert all(float(cell) > 0 for row in rows for cell in (*row[1:4], row[5]))
    assert "equal pictures" in text and "update 3: equal within" in text and "torch 2." in text


def test_one_side_alone(capsys):
    assert cpu_speed.main(["--quick", "--only", "torch", "--kind"]) == 0
    text, rows = table_of(capsys, cells=6)
    assert rows[0][1] == rows[0][5] == "-" and float(rows[0][3]) > 0 and "peak memory of a process" in text


@pytest.mark.slow
def test_startup(capsys, optimised):
    assert startup.main(["--quick"]) == 0
    _, rows = table_of(capsys, cells=6)
    (row,) = rows
    assert row[0] == "SRResNet" and float(row[5]) < float(row[4])  # compiling takes less from the cache


def test_large_picture(capsys):
    assert large_picture.main(["--side", "200"]) == 0
    _, ((size, enlarged, *figures),) = table_of(capsys, cells=6)
    assert (size, enlarged) == ("200x200", "800x800") and all(float(figure) >= 0 for figure in figures)
    assert float(figures[1]) > 100  # MB: jax alone takes that


def damaged(make):
    """`make` with one weight of its network changed."""

    def wrong(*args):
        network = make(*args)
        with torch.no_grad():
            next(parameter for parameter in network.parameters() if parameter.ndim == 4)[0, 0] += 0.5
        return network

    return wrong


@pytest.fixture(scope="module")
def first_update():
    """What train_speed.check builds, once; each of its updates says what the first says."""
    ours = train_speed.build(trainings.load("SRGAN", True, "data.augment=False", "batch_size=2"))
    with full_precision():
        _, metrics = ours.call(jax.tree.map(jnp.copy, ours.state), ours.features, ours.fed, ours.flag)
    return ours._replace(call=lambda state, *_: (state, metrics))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "update"), [("srresnet_from", 1), ("discriminator_from", 1), ("vgg_from", 1), (None, 2)]
)
def test_a_wrong_weight_is_noticed_in_the_losses(monkeypatch, first_update, network, update):
    """With none wrong, the first update is equal, and the second is not the first."""
    monkeypatch.setattr(train_speed, "build", lambda config: first_update)
    if network:
        monkeypatch.setattr(torch_peer, network, damaged(getattr(torch_peer, network)))
    with pytest.raises(SystemExit, match=f"SRGAN, update {update}: NOT equal"):
        train_speed.check("SRGAN", quick=True)


def test_a_wrong_step_is_noticed_in_the_losses(monkeypatch):
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: adam(parameters, lr=2 * lr, fused=fused))
    with pytest.raises(SystemExit, match="SRResNet, update [23]: NOT equal"):
        train_speed.check("SRResNet", quick=True)


def test_torch_holds_no_gradients_between_updates():
    """They are part of what an update needs, which peak_memory counts from what is held before it."""
    networks = torch_peer.SRResNet(1, 8), torch_peer.Discriminator(32, 8, 16)
    weights = [weight for network in networks for weight in network.parameters()]
    before = [weight.clone() for weight in weights]
    update = torch_peer.make_update(torch_peer.variants(())[0], *networks, torch.nn.Conv2d(3, 4, 3), "float32")
    device = torch_peer.device()
    update(torch.rand(2, 3, 8, 8, device=device), torch.rand(2, 3, 32, 32, device=device))
    assert all(weight.grad is None for weight in weights)
    assert not any(torch.equal(old, new.cpu()) for old, new in zip(before, weights, strict=True))


def test_a_wrong_weight_is_noticed_in_the_picture(monkeypatch):
    monkeypatch.setattr(torch_peer, "srresnet_from", damaged(torch_peer.srresnet_from))
    with pytest.raises(SystemExit, match="enlarging: NOT equal"):
        upscale_speed.check(quick=True)


def test_a_nan_is_not_equal():
    with pytest.raises(SystemExit, match="loss is nan"):
        check_equal("here", {"loss": float("nan")}, {"loss": 1.0}, 0.1)


def test_turns_are_shared_evenly():
    order: list[str] = []
    contenders = {name: Contender(lambda times, name=name: order.append(name)) for name in ("ours", "torch, a")}
    seconds = interleave(contenders, 0)
    assert order == 3 * ["ours"] + 3 * ["torch, a"] + ["ours", "torch, a"] and min(seconds.values()) >= 0


def failing(error: Exception) -> Contender:
    def run(times: int) -> None:
        raise error

    return Contender(run)


def test_who_has_not_enough_memory_is_left_out(capsys):
    errors = {
        "ours": RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying\nto allocate"),
        "torch, eager": torch.cuda.OutOfMemoryError("CUDA out of memory."),
        "numpy": MemoryError(),
        "torch, compile": ValueError(),
    }
    contenders = {name: failing(error) for name, error in errors.items()} | {"torch, b": Contender(lambda times: None)}
    seconds = interleave(contenders, 0)
    assert list(seconds) == ["torch, b"] and cpu_speed.cells(seconds)[0] == cpu_speed.cells({})[2] == "-"
    *said, one = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"torch, b: \S+ ms at first, after 0 s", one)
    assert said[0] == "ours left out: RESOURCE_EXHAUSTED: Out of memory while trying"
    assert said[1:] == [
        "torch, eager left out: CUDA out of memory.",
        "numpy left out: MemoryError",
        "torch, compile left out: ValueError",
    ]
    with pytest.raises(ValueError, match="wrong"):
        interleave({"ours": failing(ValueError("wrong"))}, 0)


def greedy() -> dict[str, Contender]:
    return {"torch, eager": Contender(lambda times: torch.empty(10**14)), "numpy": failing(MemoryError())}


def four(pieces: int) -> dict[str, Contender]:
    def fail(times: int) -> None:
        raise ValueError(f"not {times} times")

    good = Contender(lambda times: os.environ.update(TIMES=str(times)), pieces)
    return greedy() | {"good": good, "bad": Contender(fail)}


@pytest.mark.slow
def test_contenders_apart_run_in_their_own_processes():
    args = cpu_speed.arguments("here", "").parse_args(["--quick"])
    with apart([partial(four, 3)], args) as found:
        assert interleave({name: found[name] for name in greedy()}, 0) == {}  # they lack memory, and are left out
        assert found["good"].pieces == 3
        found["good"].run(5)
        assert "TIMES" not in os.environ
        with pytest.raises(RuntimeError, match="ValueError: not 2 times"):
            found["bad"].run(2)
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError, match="TypeError"), apart([partial(four, 3, 4)], args):
        pass


def test_ratio_is_to_the_fastest():
    seconds = {"ours": 3.0, "torch, a": 2.0, "torch, b": 4.0}
    assert ratio(seconds, "ours") == "1.50" and ratio(seconds, "torch, a") == "-"
    assert ratio({"ours": 3.0}, "ours") == "-"


@pytest.mark.parametrize(("modes", "names"), [(None, []), (["default"], ["compile default"])])
def test_modes_of_compile(modes, names):
    assert [variant.name for variant in torch_peer.variants(modes)] == ["eager", "channels_last", *names]


def test_flops():
    """Of a 96x96 crop: figures worked out by others than this code."""
    srresnet, srgan = (trainings.load(kind, quick=False) for kind in ("SRResNet", "SRGAN"))
    assert generator_flops(srresnet, 24 * 24) / 1e9 == pytest.approx(2.6, abs=0.05)
    assert update_flops(srresnet) / 1e9 == pytest.approx(7.7, abs=0.05)
    assert update_flops(srgan) / 1e9 == pytest.approx(43, abs=0.5)


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_flops_of_lpips(network):
    """As XLA counts the program, nearly all convolutions, without zeros beyond the border. An update has three."""
    config = srgan_lpips.get_config()
    config.loss.lpips.network, config.data.crop = network, 1024
    model, crop = LPIPS(network), jax.ShapeDtypeStruct((1, 1024, 1024, 3), "float32")
    params = jax.eval_shape(model.init, jax.random.key(0), crop, crop)
    program = jax.jit(partial(model.apply, method="features")).lower(params, crop)
    assert lpips_flops(config) == pytest.approx(program.cost_analysis()["flops"], rel=0.02)
    with_it = update_flops(config)
    config.loss.lpips.weight = 0
    assert with_it - update_flops(config) == 3 * lpips_flops(config)


def test_only_the_first_four_need_torch():
    """As RESULTS.md says of its table."""
    text = (Path(upscale_speed.__file__).parent / "RESULTS.md").read_text().split("The first four need torch")[0]
    names = re.findall(r"^\| `python -m benchmarks\.(\w+)[ `]", text, re.MULTILINE)
    assert len(names) > 4 and set(names[:4]) == {"cpu_speed", "train_speed", "upscale_speed", "input_speed"}
    code = f"import sys; sys.modules['torch'] = None; from benchmarks import {', '.join(names[4:])}"
    subprocess.run([sys.executable, "-c", code], cwd=trainings.CONFIGS.parent, check=True, timeout=120)
