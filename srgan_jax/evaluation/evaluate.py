"""Figures with provenance: methods on data sets, always beside a control, bicubic or the input itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from srgan_jax import metrics
from srgan_jax.evaluation.fid import Fid
from srgan_jax.evaluation.pairs import Pairs
from srgan_jax.inference.ensemble import ensembled
from srgan_jax.inference.lpips import Lpips
from srgan_jax.inference.pictures import Picture, comparison
from srgan_jax.inference.upscale import Upscale, make_upscale
from srgan_jax.ops.bicubic import imresize
from srgan_jax.provenance import code_version, digest_tree
from srgan_jax.training.trained import Generator

Result = dict[str, Any]
Outputs = dict[str, list[list[Picture]]]

CONTROL = {"name": "bicubic", "weights": "none: MATLAB bicubic, boundary symmetric"}
COPY = {"name": "input", "weights": "none: the input itself"}  # at scale 1


def evaluate(
    generators: Sequence[Generator],
    sets: Mapping[str, Pairs],
    lpips: Sequence[Lpips] = (),
    fid: Fid | None = None,
    ensemble: bool = False,
) -> tuple[Result, Outputs]:
    """(result, pictures): every method on every set.

    result is ready for JSON: {"convention", "code", "data": {set: origin}, "methods": [{"name", ..., "sets":
    {set: {"images": {file: figures}, "mean": figures}}}, ...]}, the control first. pictures[set][method] are its
    outputs.
    All sets are of one scale. `fid`, a figure of a set, stands in its mean alone. ensemble: the generators by
    self-ensemble, which a "+" after their names tells, as in Lim et al. 2017.
    """
    (scale,) = {pairs.origin["scale"] for pairs in sets.values()}
    upscalers: list[Any] = [lambda lr: imresize(lr, scale=scale) if scale > 1 else lr]
    methods: list[dict[str, Any]] = [(CONTROL if scale > 1 else COPY) | {"sets": {}}]
    compiled: dict[Any, Upscale] = {}  # of equal networks one program, whatever their weights
    for generator in generators:
        upscale = compiled.setdefault(generator.network, make_upscale(generator.network))
        upscale = ensembled(upscale) if ensemble else upscale
        upscalers.append(lambda lr, upscale=upscale, variables=generator.variables: upscale(variables, lr))
        methods.append(
            {
                "name": generator.name + "+" * ensemble,
                "run": str(generator.run),
                "step": generator.step,
                "weights_sha256": digest_tree(generator.variables),
                "config": generator.config.to_dict(),
                "self_ensemble": ensemble,
                "sets": {},
            }
        )
    outputs: Outputs = {}
    for name, pairs in sets.items():
        outputs[name] = [[upscale(lr) for lr in pairs.lr] for upscale in upscalers]
        for method, pictures in zip(methods, outputs[name], strict=True):
            method["sets"][name] = _measure(pictures, pairs, scale, lpips)
        if fid:
            for method, figures in zip(methods, fid(outputs[name], pairs.hr), strict=True):
                method["sets"][name]["mean"] |= figures
    convention = (
        metrics.CONVENTION
        | {"border_pixels": metrics.border(scale)}
        | {measure.name: measure.convention for measure in lpips}
        | (fid.convention if fid else {})
    )
    data = {name: pairs.origin for name, pairs in sets.items()}
    return {"convention": convention, "code": code_version(), "data": data, "methods": methods}, outputs


def _measure(pictures: Sequence[Picture], pairs: Pairs, scale: int, lpips: Sequence[Lpips]) -> dict[str, Any]:
    figures = []
    for sr, hr, grey in zip(pictures, pairs.hr, pairs.grey, strict=True):
        perceptual = {measure.name: measure(sr, hr) for measure in lpips}
        figures.append(metrics.figures(sr, hr, scale=scale, grey=grey) | perceptual)
    mean = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
    return {"images": dict(zip(pairs.names, figures, strict=True)), "mean": mean}


def strip(pairs: Pairs, outputs: list[list[Picture]]) -> Picture:
    """A row LR | each method | HR for each of the first four photographs."""
    first = range(min(4, len(pairs.hr)))
    return np.vstack([comparison(pairs.lr[i], [method[i] for method in outputs], pairs.hr[i]) for i in first])
