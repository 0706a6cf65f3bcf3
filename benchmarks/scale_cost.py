"""What an update costs on 1 to 64 devices: bytes all-reduced, memory and FLOPs of each; compiled, never run.

    python -m benchmarks.scale_cost [--devices 1 2 4 8 16 32 64] [--batch 16] [--quick] [--config.FIELD=VALUE ...]
    python -m benchmarks.scale_cost --project [--share 0.3] [--latency 1]

The devices are this CPU's, as many as XLA is told to see; of convolutions and sums the form for accelerators is
compiled. --project: what that makes of published figures of interconnects, up to 1024 chips. See docs/scaling.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from benchmarks import collectives, scale_model
from benchmarks.flops import update_flops
from benchmarks.trainings import CONFIGS, KINDS
from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_features
from srgan_jax.training import parallel
from srgan_jax.training.call import make_call
from srgan_jax.training.start import load_features, networks
from srgan_jax.training.state import GanState, make_state
from srgan_jax.training.steps import make_update

TINY = {"SRResNet": "tiny", "SRGAN": "tiny_gan"}
HEAD = "update | devices | gradients | BatchNorm forward | BatchNorm backward | log | others | in sequence | MB | GFLOP"


class Cost(NamedTuple):
    """Of one update, for each device: memory in bytes, what the collectives are, and what they ought to be."""

    found: list[collectives.Collective]
    expected: dict[str, int]
    excess: dict[str, int]
    memory: int
    flops: float

    def depth(self) -> int:
        """All-reduces that must be done one after the other."""
        return max((one.depth for one in self.found), default=0)


def load(kind: str, batch: int, quick: bool, mode: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The shipped config with `batch` crops in all."""
    fields = ["data.source=bundled", "steps_per_call=1", f"batch_size={batch}", "loss.feature.weights=random"]
    fields.append(f"parallel.mode={mode}")
    path = str(CONFIGS / f"{(TINY if quick else KINDS)[kind]}.py")
    return configs.load(path, [*(f"--config.{field}" for field in fields), *overrides])


def compile_update(config: ConfigDict, devices: int) -> tuple[jax.stages.Compiled, GanState]:
    """The program that training compiles, for the first so many devices, and the state's shapes; nothing is run."""
    layout = parallel.make_layout(config, devices)
    state = jax.eval_shape(lambda: make_state(config, *networks(config, layout)))
    params = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, load_features(config)))
    crop = config.data.crop
    fed = jax.ShapeDtypeStruct((1, config.batch_size, crop, crop, 3), jnp.uint8)
    flag = jax.ShapeDtypeStruct((devices,), jnp.int32)
    update = make_update(config, build_features(config), layout.axis_name)
    call = layout.jit(make_call(config, update, lambda fed, i, step, places: fed, layout), batched=True)
    return call.lower(state, params, fed, flag).compile(), state


def cost(config: ConfigDict, devices: int) -> Cost:
    compiled, state = compile_update(config, devices)
    text, counted = compiled.as_text(), compiled.cost_analysis()
    assert text and counted
    found = collectives.read(text)
    sizes: Any = compiled.memory_analysis()
    memory = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    expected = collectives.expected(state, config) if devices > 1 else {}
    excess = collectives.excess(found, state, config) if devices > 1 else {}
    return Cost(found, expected, excess, memory + sizes.temp_size_in_bytes, counted["flops"])


def row(kind: str, devices: int, one: Cost) -> str:
    """`found`, or `found (expected)` where that is another figure."""
    found = collectives.by_kind(one.found)
    kinds = (collectives.GRADIENTS, collectives.FORWARD, collectives.BACKWARD)
    cells = []
    for name in kinds:
        have, want = found.get(name, 0), one.expected.get(name, 0)
        cells.append(f"{have:,}" if have == want else f"{have:,} ({want:,})")
    others = sum(size for name, size in found.items() if name not in (*kinds, collectives.LOG))
    cells += [f"{found.get(collectives.LOG, 0)}", f"{others}", f"{one.depth()} of {len(one.found)}"]
    return " | ".join([f"| {kind}", f"{devices}", *cells, f"{one.memory / 1e6:.0f}", f"{one.flops / 1e9:.4g} |"])


def start(devices: int) -> None:
    """So many devices on this CPU, and programs as accelerators have them."""
    flags.FLAGS.mark_as_parsed()
    options = f"--xla_force_host_platform_device_count={devices} --xla_disable_hlo_passes=cpu-all-reduce-combiner"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {options}"
    jax.config.update("jax_platforms", "cpu")
    # The CPU's own forms sum other arrays than those that accelerators do.
    jax.lax.platform_dependent = lambda *args, default, **forms: default(*args)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scale_cost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", nargs="+", type=int, help="default 1 2 4 8 16 32 64")
    parser.add_argument("--batch", type=int, default=16, help="crops for each device (default 16)")
    parser.add_argument("--quick", action="store_true", help="tiny networks, 1, 2 and 4 devices")
    parser.add_argument("--mode", choices=["jit", "shard_map"], default="jit", help="parallel.mode (default jit)")
    parser.add_argument("--project", action="store_true", help="expected efficiency on accelerators")
    parser.add_argument("--share", type=float, default=0.3, help="of the peak FLOP/s, assumed (default 0.3)")
    parser.add_argument("--latency", type=float, default=1.0, help="factor on the assumed latencies (default 1)")
    args, overrides = parser.parse_known_args(argv)
    try:
        load("SRGAN", args.batch, args.quick, args.mode, overrides)
    except UserError as error:
        parser.error(str(error))
    counts = args.devices or ([2] if args.project else [1, 2, 4] if args.quick else [1, 2, 4, 8, 16, 32, 64])
    start(max(counts))
    lines = (
        [] if args.project else [f"bytes of one update, each device; {args.batch} crops each; (what it ought to be)"]
    )
    lines += [f"| {scale_model.HEAD if args.project else HEAD} |"]
    lines += [f"|{'---|' * (lines[-1].count(' | ') + 1)}"]
    print("\n".join(lines), flush=True)
    reasons: dict[str, None] = {}
    for kind in KINDS:
        for devices in counts:
            config = load(kind, args.batch * devices, args.quick, args.mode, overrides)
            one = cost(config, devices)
            if args.project:
                flops = update_flops(config) * args.batch
                print("\n".join(scale_model.rows(kind, one, flops, args.share, args.latency)), flush=True)
            else:
                print(row(kind, devices, one), flush=True)
            reasons |= {f"{kind}: {size:,} bytes more: {why}": None for why, size in one.excess.items()}
    print("\n" + "\n".join(reasons) + f"\njax {jax.__version__}, compiled for {max(counts)} devices of a CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
