"""What devices tell each other in one update, read from XLA's optimised HLO text, and what they ought to."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from srgan_jax.training.state import GanState

FORWARD, BACKWARD, GRADIENTS, LOG = "BatchNorm forward", "BatchNorm backward", "gradients", "log"
TWICE = "D's gradients, of real and of generated crops apart"
CHANNELS = "slopes of PReLU, summed over channels only afterwards"
OPS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
WIDTH = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%(?P<name>\S+) = (?P<type>.*?) (?P<op>[a-z][a-z\d-]*)\((?P<rest>.*)")


class Collective(NamedTuple):
    """kind: FORWARD, BACKWARD, GRADIENTS or LOG for an all-reduce, else the operation's name.

    size: bytes that each device puts in. depth: how many must be done one after the other, up to and with this one.
    where: the name that JAX gave the operation, with the network and the layer in it.
    """

    kind: str
    size: int
    depth: int
    where: str


def read(text: str) -> list[Collective]:
    """The collectives of a compiled program that has combined none of them.

    Raises:
      ValueError: one stands in a loop or a branch, where the text does not say how often it runs.
    """
    before, entry = text.split("\nENTRY ", 1)
    if found := re.search(rf" ({'|'.join(OPS)})(-start)?\(", before):
        raise ValueError(f"{found[1]} outside the entry computation")
    depths: dict[str, int] = {}
    collectives = []
    for match in filter(None, map(INSTRUCTION.match, entry.splitlines())):
        depth = max((depths.get(name, 0) for name in re.findall(r"%([\w.-]+)", match["rest"])), default=0)
        op = match["op"].removesuffix("-start")
        if op in OPS:
            depth += 1
            where = re.search(r'op_name="(.*?)"', match["rest"])
            # of what is traced once for several layers, the name at its call
            name = re.sub(r"jit\(core_fn\)/\w+/", "", where[1]) if where else ""
            collectives.append(Collective(_kind(op, name), _size(match["type"]), depth, name))
        depths[match["name"]] = depth
    return collectives


def _kind(op: str, where: str) -> str:
    if op != "all-reduce":
        return op
    if "/gradients/" in where:
        return GRADIENTS
    backward = "transpose(jvp(" in where
    if "/norm_" in where:
        return BACKWARD if backward else FORWARD
    return GRADIENTS if backward else LOG


def _size(kind: str) -> int:
    """Of "f32[3,3]{1,0}", or of a tuple of such."""
    shapes = re.findall(r"(\w+)\[([\d,]*)\]", kind)
    return sum(WIDTH[dtype] * int(np.prod([int(n) for n in dims.split(",") if n])) for dtype, dims in shapes)


def layers(state: GanState) -> dict[str, int]:
    """Bytes of each layer's parameters that have a gradient, "(Network))/layer/", of SRResNet and SRGAN.

    Biases before a norm, which is named as their layer is, have none.
    """
    sizes: Counter[str] = Counter()
    for player in filter(None, (state.g, state.d)):
        network = type(player.apply_fn.__self__).__name__  # type: ignore[attr-defined]
        found = {tuple(part.key for part in path): leaf for path, leaf in jax.tree.leaves_with_path(player.params)}
        for (*path, layer, name), leaf in found.items():
            before_norm = (*path, layer.replace("conv_", "norm_"), "scale") in found and layer.startswith("conv_")
            if not (before_norm and name == "bias"):
                sizes[f"({network}))/{'/'.join((*path, layer))}/"] += leaf.size * leaf.dtype.itemsize
    return dict(sizes)


def expected(state: GanState, config: ConfigDict) -> dict[str, int]:
    """Bytes by kind if nothing were sent that need not be: parameters' gradients and BatchNorm's statistics.

    A BatchNorm of c channels needs the sums of x and x**2 forward, 2c values, and backward two sums for each channel
    again, from which under jit the gradients of its own two parameters follow. Statistics of each replica are sent to
    nobody. SRGAN's generator is run once in an update, its discriminator three times: on real crops, on generated ones,
    and on those for the generator; or twice on both together, one_pass. A relativistic loss of the generator asks for
    real crops, too, of which it has no gradient.
    """
    sizes = layers(state)
    norms = {name: size for name, size in sizes.items() if "/norm_" in name}
    of_d = sum(size for name, size in norms.items() if name.startswith("(Discriminator"))
    one_pass = config.discriminator.one_pass
    backward = sum(norms.values()) + (1 if one_pass else 2) * of_d
    forward = backward + (of_d if config.loss.adversarial.kind == "relativistic" and not one_pass else 0)
    if config.parallel.batch_norm == "replica":
        forward = backward = 0
    apart = sum(norms.values()) if config.parallel.mode == "jit" else 0
    return {FORWARD: forward, BACKWARD: backward, GRADIENTS: sum(sizes.values()) - apart}


def excess(collectives: Iterable[Collective], state: GanState, config: ConfigDict) -> dict[str, int]:
    """Bytes of gradients beyond the parameters', by reason; "unexplained" for those (or too few) that have none."""
    if config.parallel.mode != "jit":
        more = by_kind(collectives).get(GRADIENTS, 0) - expected(state, config)[GRADIENTS]
        return {"unexplained": more} if more else {}
    sizes = {name: size for name, size in layers(state).items() if "/norm_" not in name}
    found: Counter[str] = Counter()
    for collective in collectives:
        if collective.kind == GRADIENTS:
            found[next((name for name in sizes if name in collective.where), "")] += collective.size
    reasons: Counter[str] = Counter()
    for name in sizes.keys() | found.keys():
        size, extra = sizes.get(name, 0), found[name] - sizes.get(name, 0)
        if name.startswith("(Discriminator") and extra == size:
            reasons[TWICE] += extra
        elif "/prelu" in name and extra > 0:
            reasons[CHANNELS] += extra
        elif extra:
            reasons["unexplained"] += abs(extra)
    return dict(reasons)


def by_kind(collectives: Iterable[Collective]) -> dict[str, int]:
    """Bytes."""
    total: Counter[str] = Counter()
    for collective in collectives:
        total[collective.kind] += collective.size
    return dict(total)
