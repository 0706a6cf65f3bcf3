"""Programs for machines that are not here: what is counted in them, and what is said where they cannot be made."""

import re

import jax
import pytest
from jax.experimental import topologies

from benchmarks import ahead
from benchmarks.trainings import TINY

HLO = """
%small (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %b = f32[8]{0} negate(%a)
}

%update (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %c = f32[8]{0} custom-call(%x), custom_call_target="conv", backend_config={"estimated_cycles":"1200"}
  %s = f32[8]{0} all-reduce-start(%c), to_apply=%add
  %d = f32[8]{0} all-reduce-done(%s)
  %f = f32[8]{0} fusion(%d), kind=kLoop, metadata={op_name="NAME"}, backend_config={"estimated_cycles":"34"}
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %f)
}

%shorter (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  ROOT %q = (s32[], f32[8]{0}) parameter(0)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %one = (s32[], f32[8]{0}) while(%x), condition=%small, body=%shorter
  %two = (s32[], f32[8]{0}) while(%one), condition=%small, body=%update
  %after = f32[8]{0} all-reduce(%two), to_apply=%add
  ROOT %y = f32[8]{0} get-tuple-element(%two), index=1
}
""".replace("NAME", "jit(call)/while/body/closed_call/conv_12/x")


DUMP = """000: kCommandBuffer [source]
    001: kCopy [source] kCopy
002: kWhile [prev=000]
condition:
    003: kCustomKernel [source]
  body:
    004: kConvolution [source]
    000: kCommandBuffer [prev=004]
        005: kCustomKernel [source]
        006: kCustomKernel [source]
        007: kWhile [prev=006]
        condition:
            008: kCustomKernel
          body:
            009: kCustomKernel
    010: kConvolution [prev=000]
011: kCopy [prev=002] kCopy
"""


def test_launches_are_those_of_the_longest_loop():
    assert ahead.launches(DUMP) == 3
    in_a_graph = "".join(f"    {line}\n" for line in DUMP.splitlines())
    assert ahead.launches(f"000: kCommandBuffer\n{in_a_graph}") == 0
    assert ahead.launches("000: kCommandBuffer\n    001: kCopy\n002: kCopy\n") == 2


def test_the_loop_over_updates_is_counted():
    where = {"custom-call": (1, 1200), "conv_#/x": (1, 34), "all-reduce-start": (1, 0)}
    assert ahead.count(HLO) == (3, 1, 1234, where)
    whole = HLO.replace(" while(", " call(")  # two calls and an all-reduce
    assert ahead.count(whole) == (3, 1, 0, {"call": (2, 0), "all-reduce": (1, 0)})


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_a_row_for_each_update(monkeypatch, capsys, platform):
    """With this machine's processor in place of the device."""
    monkeypatch.setattr(ahead, "devices", lambda target: (platform, jax.devices()))
    fields = [f"--config.{field}" for field in [*TINY, "loss.feature.layer=1.1"]]
    assert ahead.main(["--target", "there", "--batch", "2", "4", "--kind", "SRGAN", "--most", "2", *fields]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if re.match(r" +\d+ +-  .*", line)]) == 4
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| SRGAN")]
    assert [row[:4] for row in rows] == [["SRGAN", "there", "1", batch] for batch in "24"]
    for row in rows:
        assert (row[7] == "-") == (platform == "tpu") and (row[10] == "-") == (platform == "gpu")
        assert float(row[5]) > 0 and row[8] == "-" and row[9] == "0"  # XLA for CPUs dumps no launches
    assert float(rows[0][6]) < float(rows[1][6])


@pytest.mark.parametrize("target", ["h200", "h200:8", "v5e:4x4", "nonsense"])
def test_what_is_missing_is_said(monkeypatch, capsys, target):
    """As jax says it where the packages are not there, or where they know no such slice."""

    def nothing(*args, **options):
        raise RuntimeError("Unknown backend\nand more")

    monkeypatch.setattr(topologies, "get_topology_desc", nothing)
    assert ahead.main(["--target", target]) == 2
    said = f"ahead: --target={target}: see --help for names and the packages it takes (Unknown backend)\n"
    assert capsys.readouterr() == ("", said)


def test_pmap_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(ahead, "devices", lambda target: ("gpu", jax.devices()))
    assert ahead.main(["--target", "there", "--config.parallel.mode=pmap"]) == 2
    assert capsys.readouterr().err.startswith("ahead: --config.parallel.mode=pmap: ")
