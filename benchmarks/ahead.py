"""What XLA makes of an update for machines that are not here: compiled and counted, not run.

    pip install libtpu                                      # for TPUs, as many as a slice has: v5e:4x4, v4:2x2x4
    python -m benchmarks.ahead --target v5e:4x4 [--kind SRResNet SRGAN] [--most 9] [--config.FIELD=VALUE ...]
    pip install jax-cuda13-plugin jax-cuda13-pjrt nvidia-cuda-nvcc nvidia-nvvm    # the first two of jax's own version
    python -m benchmarks.ahead --target h200

Programs are those that training compiles, several updates in a call, crops cut inside. Memory is that of one device:
what it holds throughout, and what a call needs beyond. For a GPU the kernels of an update are counted (its
convolutions are chosen only there, by timing) and what the host launches for it, where several kernels may be one CUDA
graph; 0 where all updates of a call are in one. For a TPU there is the compiler's own estimate of cycles, which is not
time. XLA_FLAGS before the command hold for the programs. In an environment of its own: jax would look for the
accelerators in every program.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from itertools import product, takewhile
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from ml_collections import ConfigDict

from benchmarks.collectives import INSTRUCTION
from benchmarks.side_by_side import megabytes, table
from benchmarks.trainings import KINDS, load
from srgan_jax.data.feed import make_feed
from srgan_jax.data.sources import make_source
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_features
from srgan_jax.training import parallel, start
from srgan_jax.training.call import make_call
from srgan_jax.training.steps import make_update

HEAD = (
    "update | for | devices | batch | compiled in, s | held, MB | in a call, MB | kernels | launches | all-reduces | "
    "cycles"
)
IN_LOOP, IN_BODY = 2, 2  # columns by which XLA's dump moves "body:" to the right, and what is in it
NO_KERNELS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "partition-id", "after-all"}
# NVIDIA's figures; XLA weighs fusions by them
H200 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 }
gpu_device_info {
  driver_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 4800000000000
  device_memory_size: 150000000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
"""


class Counted(NamedTuple):
    """Of one update: instructions that are kernels, all-reduces, and the sum of the compiler's estimates, if any.

    where: (kernels, cycles) by what JAX calls the operation, numbers of layers left out.
    """

    kernels: int
    all_reduces: int
    cycles: int
    where: dict[str, tuple[int, int]]


def devices(target: str) -> tuple[str, Any]:
    """(jax's name of the platform, its devices).

    Raises:
      UserError: the packages are not there, or know no such target.
    """
    try:
        if gpus := re.fullmatch(r"h200(?::(\d+))?", target):
            shape = f"1x1x{gpus[1] or 1}"
            return "gpu", topologies.get_topology_desc(platform="cuda", target_config=H200, topology=shape).devices
        settings = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": target, "TPU_WORKER_HOSTNAMES": "localhost"}
        with mock.patch.dict(os.environ, settings):  # or libtpu would ask around for the machine it runs on
            return "tpu", topologies.get_topology_desc(target, platform="tpu").devices
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"--target={target}: see --help for names and the packages it takes ({reason})") from error


def compiled(config: ConfigDict, platform: str, there: Any, options: dict[str, str]) -> Any:
    """The call that training on these devices would compile, with XLA's `options` besides."""
    stand_ins = {"devices": there, "device_count": len(there), "default_backend": platform}
    with mock.patch.multiple(jax, **{name: mock.Mock(return_value=value) for name, value in stand_ins.items()}):
        layout = parallel.make_layout(config)

        def places(tree: Any) -> Any:
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.everywhere), tree)

        feed = make_feed(config, make_source(config.data))
        call = make_call(config, make_update(config, build_features(config), layout.axis_name), feed.crops, layout)
        flag = jax.ShapeDtypeStruct(
            (len(there),), jnp.int32, sharding=jax.NamedSharding(layout.mesh, jax.P(parallel.AXIS))
        )
        state = start.initial_state(config, layout, resumed=True)
        arguments = state, places(start.load_features(config)), places(next(feed.start(0))), flag
        return layout.jit(call, batched=False).lower(*arguments).compile(options)


def count(text: str) -> Counted:
    """Of a program's loop over updates, which is its longest; of the whole where it has none.

    What starts and what waits for it is one kernel; so is a loop inside, whatever it holds.
    """
    computations = dict(re.findall(r"^(?:ENTRY )?%(\S+) \(.*?\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
    entry = re.search(r"^ENTRY %(\S+)", text, re.MULTILINE)
    bodies = set(re.findall(r" while\(.*body=%([\w.-]+)", text)) or {entry[1]}  # type: ignore[index]
    lines = max((computations[name].splitlines() for name in bodies), key=len)
    found = [match for match in map(INSTRUCTION.match, lines) if match and match["op"] not in NO_KERNELS]
    found = [match for match in found if not match["op"].endswith("-done")]
    where: dict[str, tuple[int, int]] = {}
    for one in found:
        label = re.search(r'op_name="([^"]*)"', one["rest"])
        name = re.sub(r"\d+", "#", label[1].split("closed_call/")[-1]) if label else one["op"]
        estimate = re.search(r'"estimated_cycles":"(\d+)"', one["rest"])
        kernels, cycles = where.get(name, (0, 0))
        where[name] = kernels + 1, cycles + int(estimate[1] if estimate else 0)
    reduces = sum(one["op"] in ("all-reduce", "all-reduce-start") for one in found)
    return Counted(len(found), reduces, sum(cycles for _, cycles in where.values()), where)


def launches(dump: str) -> int:
    """Of one update, from XLA's dump of what a program for a GPU does, indented by what is inside what.

    Of its longest loop, 0 where that is inside a CUDA graph; of the whole where it has none.
    """
    lines = [(len(line) - len(line.lstrip()), line.strip()) for line in dump.splitlines() if line.strip()]

    def body(i: int) -> list[int]:
        """Columns of what the i-th line has in it."""
        return list(takewhile(lambda column: column > lines[i][0], (column for column, _ in lines[i + 1 :])))

    loops = [i for i, (_, line) in enumerate(lines) if line == "body:"]
    if not loops:
        return sum(column == 0 for column, _ in lines)
    longest = max(loops, key=lambda i: len(body(i)))
    column = lines[longest][0]
    return 0 if column > IN_LOOP else body(longest).count(column + IN_BODY)


def measure(kind: str, batch: int, target: str, fields: list[str], most: int) -> list[object]:
    """A row of the table; above it the `most` costly operations."""
    platform, there = devices(target)
    config = load(kind, False, f"batch_size={batch}", "dtype=bfloat16", "steps_per_call=20", *fields)
    if config.parallel.mode == "pmap":
        raise UserError("--config.parallel.mode=pmap: compiles when it runs, not ahead; take jit or shard_map")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(config, platform, there, {"xla_dump_to": folder} if platform == "gpu" else {})
        dumps = sorted(Path(folder).glob("*jit_call*.thunk_sequence*.txt"))  # at last as it is run
        launched = launches(dumps[-1].read_text()) if dumps else "-"
    seconds, memory, counted = time.monotonic() - began, program.memory_analysis(), count(program.as_text())
    ranked = sorted(counted.where.items(), key=lambda item: item[1][::-1], reverse=True)
    for name, (kernels, cycles) in ranked[:most]:
        print(f"{kernels:6} {cycles or '-':>9}  {name}")
    of_gpu, of_tpu = ([counted.kernels, launched], "-") if platform == "gpu" else (["-", "-"], f"{counted.cycles:.3g}")
    sizes = megabytes(memory.argument_size_in_bytes), megabytes(memory.temp_size_in_bytes)
    return [kind, target, len(there), batch, f"{seconds:.0f}", *sizes, *of_gpu, counted.all_reduces, of_tpu]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "ahead", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="h200, or a TPU slice such as v5e:4x4")
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--batch", nargs="+", type=int, help="global; default 16 for each device")
    parser.add_argument("--most", type=int, default=0, help="name the operations with most cycles, or kernels: so many")
    args, fields = parser.parse_known_args(argv)
    fields = [field.removeprefix("--config.") for field in fields]
    jax.config.update("jax_platforms", "cpu")
    try:
        rows = []
        batches = args.batch or [16 * len(devices(args.target)[1])]
        for kind, batch in product(args.kind, batches):
            rows.append(measure(kind, batch, args.target, fields, args.most))
            print(*rows[-1], sep="  ", flush=True)
    except UserError as error:
        print(f"ahead: {error}", file=sys.stderr)
        return 2
    print(f"\n{table(HEAD, rows)}\njax {jax.__version__}, {time.strftime('%Y-%m-%d')}; compiled, not run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
