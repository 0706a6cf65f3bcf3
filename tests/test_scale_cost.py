"""What is all-reduced, byte by byte, and what is made of it."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import collectives, scale_cost, scale_model

ROOT = Path(__file__).parent.parent

# 1 block of 8 features, 5x5 first and 3x3 last: convolutions, shared PReLU slopes; 3 BatchNorms of 8 channels, before
# which the convolutions' biases have no gradient
G = 4 * (5 * 5 * 3 * 8 + 8 + 3 * 9 * 8 * 8 + 2 * (9 * 8 * 32 + 32) + 9 * 8 * 3 + 3 + 4)
G_NORM = 4 * 2 * 3 * 8
SLOPES = 4 * (2 * (8 - 1) + 2 * (32 - 1))
# 4 convolutions of 8 and 16 features, a dense layer of 16 on 4x4x16; 3 BatchNorms
WIDTHS = (3, 8, 8, 16, 16)
D = 4 * (sum(9 * a * b for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)) + 8 + 4 * 4 * 16 * 16 + 16 + 16 + 1)
D_NORM = 4 * 2 * sum(WIDTHS[2:])


OPTIONS = {"plain": [], "one pass": ["--config.discriminator.one_pass=True"], "shard_map": ["--mode", "shard_map"]}
CODE = """
import json, runpy, sys
for sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        runpy.run_module("benchmarks.scale_cost", run_name="__main__")
    except SystemExit as done:
        assert done.code == 0
    print("end")
"""


@pytest.fixture(scope="module")
def tables():
    """The command's rows by kind, with each of OPTIONS, all in one process: most of its time goes into its start."""
    fixed = ["--quick", "--batch", "2", "--devices", "4", "--config.discriminator.stages=2"]
    argv = [sys.executable, "-c", CODE, json.dumps([fixed + options for options in OPTIONS.values()])]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "unexplained" not in done.stdout
    *outputs, rest = done.stdout.split("\nend\n")
    assert not rest
    return dict(zip(OPTIONS, map(table, outputs), strict=True))


def table(output):
    names, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:2] == "| "
    )
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def test_bytes_are_those_of_gradients_and_statistics(tables):
    srresnet, srgan = tables["plain"].values()
    assert srresnet["gradients"] == f"{G + SLOPES:,} ({G:,})"
    assert srgan["gradients"] == f"{G + SLOPES + 2 * D:,} ({G + D:,})"  # D's are sent twice
    for row, norm in ((srresnet, G_NORM), (srgan, G_NORM + 3 * D_NORM)):
        assert row["BatchNorm forward"] == row["BatchNorm backward"] == f"{norm:,}"
        assert row["others"] == "0" and int(row["log"]) < 100 and float(row["GFLOP"]) > 0
    # G forward and backward with 3 BatchNorms; D with 3, on generated crops and then for G; a gradient of each
    assert srresnet["in sequence"].startswith("7 of ") and srgan["in sequence"].startswith("20 of ")


def test_one_pass_of_the_discriminator_sends_its_gradients_once(tables):
    row = tables["one pass"]["SRGAN"]
    assert row["gradients"] == f"{G + SLOPES + D:,} ({G + D:,})" and row["others"] == "0"
    assert row["BatchNorm forward"] == row["BatchNorm backward"] == f"{G_NORM + 2 * D_NORM:,}"


def test_shard_map_sends_each_gradient_once(tables):
    rows = tables["shard_map"]
    assert rows["SRResNet"]["gradients"] == f"{G + G_NORM:,}"
    assert rows["SRGAN"]["gradients"] == f"{G + G_NORM + D + D_NORM:,}"
    for kind, norm in (("SRResNet", G_NORM), ("SRGAN", G_NORM + 3 * D_NORM)):
        assert rows[kind]["BatchNorm forward"] == rows[kind]["BatchNorm backward"] == f"{norm:,}"
        assert rows[kind]["others"] == "0" and int(rows[kind]["log"]) < 100


class SRResNet:
    def apply(self): ...


class Discriminator(SRResNet): ...


@pytest.mark.parametrize(
    ("mode", "fields", "forward", "backward"),
    [
        ("jit", [], 3, 3),
        ("jit", ["loss.adversarial.kind=relativistic"], 4, 3),
        ("jit", ["discriminator.one_pass=True"], 2, 2),
        ("jit", ["discriminator.one_pass=True", "loss.adversarial.kind=relativistic"], 2, 2),
        ("shard_map", [], 3, 3),
        ("shard_map", ["parallel.batch_norm=replica"], None, None),
    ],
)
def test_statistics_that_ought_to_be_sent(mode, fields, forward, backward):
    """Of each network a BatchNorm, of 3 and of 5 channels. forward, backward: passes of D, None for nothing at all."""

    def player(network, channels):
        scale_and_bias = {name: np.zeros(channels, np.float32) for name in ("scale", "bias")}
        return SimpleNamespace(params={"norm_0": scale_and_bias}, apply_fn=network.apply)

    config = scale_cost.load("SRGAN", 2, True, mode, [f"--config.{field}" for field in fields])
    found = collectives.expected(SimpleNamespace(g=player(SRResNet(), 3), d=player(Discriminator(), 5)), config)
    want = [0 if passes is None else 4 * 2 * (3 + passes * 5) for passes in (forward, backward)]
    assert [found[collectives.FORWARD], found[collectives.BACKWARD]] == want
    assert found[collectives.GRADIENTS] == (0 if mode == "jit" else 4 * 2 * (3 + 5))


HLO = """
%add (a: f32[], b: f32[]) -> f32[] {{
  ROOT %sum = f32[] add(%a, %b){inside}
}}

ENTRY %main (p: f32[8]) -> f32[3,3] {{
  %p = f32[8]{{0}} parameter(0)
  %one = f32[8]{{0}} all-reduce(%p), to_apply=%add, metadata={{op_name="jit(f)/jvp(SRResNet)/norm_after/reduce_sum"}}
  %two = (bf16[3,3]{{1,0}}, f32[]) all-reduce(%one, %p), metadata={{op_name="jit(f)/transpose(jvp(SRResNet))/conv/x"}}
  %three = f32[8]{{0}} all-gather(%p), dimensions={{0}}
  ROOT %x = f32[3,3]{{1,0}} fusion(%two, %three), kind=kLoop, calls=%add
}}
"""


def test_reading_hlo():
    found = collectives.read(HLO.format(inside=""))
    kinds = [collectives.FORWARD, collectives.GRADIENTS, "all-gather"]
    assert [(one.kind, one.size, one.depth) for one in found] == list(zip(kinds, (32, 22, 32), (1, 2, 1), strict=True))
    with pytest.raises(ValueError, match="all-reduce outside"):
        collectives.read(HLO.format(inside="\n  %r = f32[] all-reduce(%sum)"))


@pytest.mark.parametrize(
    ("name", "chips", "latency", "seconds"),
    [
        ("TPU v5e", 256, 2e-6 + 32e-6, 2 * 255 / 256 / 200e9),  # 16x16: 8 there and 8 back, in each of two directions
        ("TPU v5e", 4, 2e-6 + 4e-6, 2 * 3 / 4 / 100e9),  # no closed rings: half the links
        ("TPU v5p", 512, 2e-6 + 24e-6, 2 * 511 / 512 / 600e9),
        ("H100, H200", 8, 10e-6 + 12e-6, 2 * 7 / 8 / 450e9),
        ("H100, H200", 64, 10e-6 + 12e-6 + 30e-6, 2 * 7 / 8 / 450e9 + 2 * 7 / 8 / 8 / 50e9),
    ],
)
def test_model_of_an_all_reduce(name, chips, latency, seconds):
    found = scale_model.all_reduce(scale_model.FABRICS[name], chips, 1e9)
    assert found == (pytest.approx(latency), pytest.approx(1e9 * seconds))


def test_a_projection_without_statistics():
    """As parallel.batch_norm=replica has it: its gradients are all that is sent."""
    gradients = collectives.Collective(collectives.GRADIENTS, 8, 1, "")
    cost = scale_cost.Cost([gradients], {collectives.GRADIENTS: 8}, {}, 0, 0.0)
    rows = scale_model.rows("SRResNet", cost, flops=1e12, share=0.3, slower=1.0)
    assert len(rows) == len(scale_model.FABRICS) * len(scale_model.CHIPS)
