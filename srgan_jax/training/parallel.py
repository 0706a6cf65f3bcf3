"""Processes, devices and where arrays live. The only file that names a mesh: one axis, `data`, over all devices."""

import json
import logging
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from srgan_jax.errors import UserError
from srgan_jax.ops.conv import accepted, compiler_options
from srgan_jax.weights.fetch import cache_dir

AXIS = "data"
# What of a program a GPU does as CUDA graphs: XLA's own choice, and the last two. With these the updates of a call are
# one graph; without them the host launches hundreds of pieces for each (benchmarks/RESULTS.md).
GRAPH = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION,CONVOLUTION,WHILE"
GRAPH_FLAG = "xla_gpu_enable_command_buffer"
HEARTBEAT = 30  # seconds without a sign of life after which a process is taken for dead, and the others end
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # in which Open MPI and MPICH say how many processes they started


def start_processes(spec: str) -> None:
    """Joins this process with the others of the run: `auto`, `off` or HOST:PORT,N,I. Before anything else touches jax.

    auto: what jax detects (TPU pod, SLURM, GKE, Open MPI); one process where it detects nothing.

    Raises:
      UserError: another spec, or the others cannot be found or reached.
    """
    join = partial(jax.distributed.initialize, heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=HEARTBEAT)
    if spec == "off":
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        if spec == "auto":
            try:
                join(local_device_ids=_gpus_of_node())
            except ValueError as error:
                if "coordinator_address" not in str(error):  # which is how jax says that it detects no cluster
                    raise
                if any(os.environ.get(name, "1") not in ("", "1") for name in LAUNCHED):
                    raise ValueError("jax does not know this launcher; give HOST:PORT,N,I, or off") from error
        else:
            found = re.fullmatch(r"(\S+:\d+),(\d+),(\d+)", spec)
            if not found or int(found[3]) >= int(found[2]):
                raise UserError(f"--distributed={spec}: must be auto, off or HOST:PORT,N,I with I from 0 to N - 1")
            join(found[1], int(found[2]), int(found[3]), local_device_ids=_gpus_of_node())
    except (RuntimeError, ValueError) as error:
        # its name is not known yet, or one comes late: pods that wait for machines, which another start may find
        if "recognize coordinator" in str(error) or "DEADLINE_EXCEEDED" in str(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"--distributed={spec}: the processes did not find each other ({reason})") from error
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # jax has taken it, and would pass it over
    if jax.process_count() > 1 and jax.default_backend() == "gpu" and not _names_programs():
        # By its sources XLA shares tuning out over processes: those that compile would wait for one that need not
        jax.config.update("jax_enable_compilation_cache", False)
    if not is_lead():  # what one process says of the run, all would
        logging.getLogger("srgan_jax").setLevel(logging.ERROR)
        logging.getLogger("srgan_jax.data.store").setLevel(logging.INFO)  # whichever process decodes, it takes long


def _gpus_of_node() -> list[int] | None:
    """All of them where SLURM runs one process on each node, for which jax would choose one; None leaves it to jax."""
    if {"OMPI_COMM_WORLD_SIZE", "JAX_LOCAL_DEVICE_IDS"} & os.environ.keys():  # Open MPI's processes, or the user's word
        return None
    alone = re.fullmatch(r"1(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    gpus = os.environ.get("SLURM_GPUS_ON_NODE", "")
    return list(range(int(gpus))) if alone and gpus.isdigit() else None


def _names_programs() -> bool:
    """Whether the user said where compiled programs are kept: in one folder for all, it is to be hoped."""
    return os.environ.get("JAX_COMPILATION_CACHE_DIR", "") not in ("", str(cache_dir() / "programs"))


def is_lead() -> bool:
    """Whether this is the process that logs, validates and writes."""
    return jax.process_index() == 0


def agree(facts: dict[str, str]) -> None:
    """Compares what all processes must have in common.

    Raises:
      UserError: on every process, if one of them has something else.
    """
    if jax.process_count() == 1:
        return
    for name, value in facts.items():
        mine = np.frombuffer(value.encode()[:64].ljust(64), np.uint8)
        everyones = np.asarray(multihost_utils.process_allgather(mine))
        others = np.flatnonzero((everyones != everyones[0]).any(axis=1))
        if others.size:
            raise UserError(f"--distributed: process {others[0]} has other {name} than process 0; start all alike")


def from_lead(facts: dict[str, Any]) -> dict[str, Any]:
    """The lead's, on every process; as JSON at most 64 kB. Waits for all."""
    if jax.process_count() == 1:
        return facts
    mine = np.frombuffer(json.dumps(facts).encode().ljust(65536), np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes())


def leads(tree: Any) -> Any:
    """The lead's arrays, in place of each process's own. Waits for all."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


@dataclass(frozen=True)
class Layout:
    """How one update is spread: `mode` decides who inserts the all-reduces, XLA (jit) or the update (the others).

    Under jit the update sees the global batch; under pmap and shard_map it sees one device's part of it, and takes
    means over `axis_name`.
    """

    mesh: Mesh
    mode: str  # jit | pmap | shard_map
    batch_size: int  # global

    @property
    def axis_name(self) -> str | None:
        return None if self.mode == "jit" else AXIS

    @property
    def everywhere(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def over_batch(self) -> NamedSharding:
        """For [k, batch, ...]."""
        return NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    def describe(self) -> str:
        """Such as "4 x NVIDIA H200, 2 processes"."""
        processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
        return f"{self.mesh.size} x {self.mesh.devices.flat[0].device_kind}{processes}"

    def places(self) -> Int[Array, " b"]:
        """Inside the update: the places in the global batch of the crops that it sees."""
        if self.mode == "jit":
            return jnp.arange(self.batch_size)
        share = self.batch_size // self.mesh.size
        return jax.lax.axis_index(AXIS) * share + jnp.arange(share)

    def own_places(self) -> Int[np.ndarray, " b"]:
        """Outside: the places in the global batch that this process feeds, in the order in which it feeds them."""
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        slices = sharding.addressable_devices_indices_map((self.batch_size,)).values()
        starts = sorted({s[0].start or 0 for s in slices if s})
        return np.concatenate([start + np.arange(self.batch_size // self.mesh.size) for start in starts])

    def divide(self, crops: Array) -> Array:
        """Keeps crops [k, batch, ...] that were cut under jit divided over the devices."""
        return jax.lax.with_sharding_constraint(crops, self.over_batch) if self.mode == "jit" else crops

    def replicate(self, tree: Any) -> Any:
        """Host arrays, the same on every process, as global arrays that are whole on each device."""
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.everywhere, np.asarray(x)), tree)

    def enter(self, tree: Any) -> Any:
        """From global arrays to what the compiled call takes: itself, but for pmap: a copy per device."""
        if self.mode != "pmap" or not jax.tree.leaves(tree):
            return tree
        count = len(self.mesh.local_devices)
        copies = jax.tree.map(lambda x: np.broadcast_to(own(x), (count, *x.shape)), tree)
        # on the devices from now on, and not sent again with each call; by the call's axis, or it would compile twice
        return jax.pmap(lambda tree: tree, AXIS, devices=list(self.mesh.devices.flat))(copies)

    def leave(self, tree: Any) -> Any:
        """The way back."""
        return self.replicate(self.host(tree)) if self.mode == "pmap" else tree

    def host(self, tree: Any) -> Any:
        """What the call returned, as numpy arrays; waits for it."""
        if self.mode == "pmap":
            return jax.tree.map(lambda x: own(x).reshape(x.shape[1:]), tree)
        return jax.tree.map(own, tree)

    def feed(self, fed: Any, *, batched: bool) -> Any:
        """What a Feed yields, on the devices: each its part if `batched`, else the whole on each."""
        if not batched:
            return self.enter(self.replicate(fed))
        if self.mode == "pmap":
            k, share, *image = fed.shape
            return fed.reshape(k, len(self.mesh.local_devices), -1, *image).swapaxes(0, 1)
        return jax.make_array_from_process_local_data(self.over_batch, fed)

    def flag(self, raised: bool) -> Any:
        """A 0 or 1 from each device; the call adds them up, so that all processes learn of one's signal together."""
        ones = np.full(len(self.mesh.local_devices), raised, np.int32)
        if self.mode == "pmap":
            return ones[:, None]
        return jax.make_array_from_process_local_data(NamedSharding(self.mesh, PartitionSpec(AXIS)), ones)

    def jit(self, call: Callable, *, batched: bool) -> Any:
        """call(state, feature_params, fed, flag) -> (state, figures) spread over the devices, the state donated.

        jit: with these shardings XLA inserts the all-reduces, so that gradients, batch statistics and losses are those
        of the global batch on any number of devices.
        """
        if self.mode == "pmap":
            return jax.pmap(call, AXIS, donate_argnums=0, devices=list(self.mesh.devices.flat))
        everywhere, fed = PartitionSpec(), PartitionSpec(None, AXIS) if batched else PartitionSpec()
        arguments, results = (everywhere, everywhere, fed, PartitionSpec(AXIS)), (everywhere, everywhere)
        if self.mode == "shard_map":
            # unchecked: gradients then are each device's own, as under pmap, and the update takes their mean
            call = jax.shard_map(call, mesh=self.mesh, in_specs=arguments, out_specs=results, check_vma=False)
        return jax.jit(
            call,
            in_shardings=tuple(NamedSharding(self.mesh, spec) for spec in arguments),
            out_shardings=tuple(NamedSharding(self.mesh, spec) for spec in results),
            donate_argnums=0,
            compiler_options=compiler_options() | self.graph(),
        )

    def graph(self) -> dict[str, str]:
        """XLA's option for one GPU, where XLA_FLAGS does not say otherwise; with several it is not tried yet."""
        alone = jax.default_backend() == "gpu" and self.mesh.size == 1
        return accepted(GRAPH_FLAG, GRAPH) if alone and GRAPH_FLAG not in os.environ.get("XLA_FLAGS", "") else {}


def compiled(call: Any, *arguments: Any) -> Callable:
    """What Layout.jit gave, compiled for these arguments; under pmap, which cannot on several processes, as it is."""
    return call.lower(*arguments).compile() if isinstance(call, jax.stages.Wrapped) else call


def own(x: jax.Array) -> np.ndarray:
    """The copy, or part, of a global array that this process's first device has, on the host."""
    return np.asarray(x.addressable_data(0))


def slice_of(device: jax.Device) -> int:
    """The TPU slice that a device belongs to; of GPUs the machine."""
    return getattr(device, "slice_index", 0)


def make_layout(config: ConfigDict, devices: int = 0) -> Layout:
    """Over all devices of all processes, or the first so many.

    Raises:
      UserError: the global batch does not divide by their number times config.parallel.accumulate.
    """
    chosen, parts = jax.devices()[: devices or None], config.parallel.accumulate
    if config.batch_size % (len(chosen) * parts):
        what = f"the {len(chosen)} devices" + (f" times config.parallel.accumulate={parts}" if parts > 1 else "")
        raise UserError(f"config.batch_size={config.batch_size}: not divisible by {what}")
    # jax.make_mesh looks for rings: it refuses several slices, and in a ring (of v5e, say) processes alternate,
    # where pmap wants the devices of each side by side
    if config.parallel.mode == "pmap" or len({slice_of(device) for device in chosen}) > 1:
        chosen = sorted(chosen, key=lambda device: device.process_index)
        mesh = Mesh(np.asarray(chosen), (AXIS,), axis_types=(AxisType.Auto,))
    else:
        mesh = jax.make_mesh((len(chosen),), (AXIS,), axis_types=(AxisType.Auto,), devices=chosen)
    return Layout(mesh, config.parallel.mode, config.batch_size)
