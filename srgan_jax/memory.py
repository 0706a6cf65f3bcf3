"""Memory that a process keeps: on a CPU, asking the system for it anew takes a good part of an update's time."""

import ctypes
import os
from importlib.util import find_spec

# parameters of glibc's mallopt, from malloc.h
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
ACCELERATORS = ("jax_plugins", "libtpu")  # packages by which jax finds a GPU or TPU


def keep_memory() -> bool:
    """Has malloc keep what is freed, for this process; whether that could be set (glibc alone has it).

    XLA:CPU takes all intermediate arrays of an update as one block, and frees it afterwards. glibc gives a block of
    that size back to the system, which clears each of its pages anew at the next first touch; benchmarks/RESULTS.md
    has what that costs. To be called before other threads allocate: each would have an arena of its own, too small
    for such blocks. Small blocks settle in the large one, which then is extended: in its first updates a process may
    grow to a few times that block. Settings for malloc in the environment (MALLOC_ARENA_MAX, say) are left alone; so is
    all where jax may find an accelerator, for whose programs XLA compiles in many threads.
    """
    if os.environ.get("JAX_PLATFORMS") != "cpu" and any(find_spec(name) for name in ACCELERATORS):
        return False
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(parameter, value) for parameter, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (ARENA_MAX, 1)))
