"""Results as people read them, and results of several measurements put together."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srgan_jax.errors import UserError, printable
from srgan_jax.evaluation import paper
from srgan_jax.evaluation.evaluate import Result
from srgan_jax.evaluation.fid import ENOUGH
from srgan_jax.metrics import from_json

TITLES = {
    "l1": "L1",
    "psnr_y": "PSNR-Y",
    "psnr_rgb": "PSNR-RGB",
    "ssim_wang": "SSIM",
    "ssim_daala": "SSIM-daala",
    "lpips_alex": "LPIPS-alex",
    "lpips_vgg": "LPIPS-vgg",
    "fid": "FID",
}


def table(result: Result, *, each: bool = False, against_paper: bool = False) -> str:
    """A line for each set and method with the means; `each` puts the single images before them."""
    columns = [name for name in TITLES if any(name in mean(m, s) for m in result["methods"] for s in m["sets"])]
    head = ["set", "image", "method", *(TITLES[name] for name in columns)]
    if against_paper:
        head += ["paper PSNR-Y", "diff", "paper SSIM-daala", "diff"]
    rows = [head]
    for name in result["data"]:
        methods = [m for m in result["methods"] if name in m["sets"]]
        images = list(methods[0]["sets"][name]["images"])
        if each:
            rows += [
                [name, image, m["name"], *cells(m["sets"][name]["images"][image], columns)]
                for image in images
                for m in methods
            ]
        for method in methods:
            rows.append([name, f"mean of {len(images)}", method["name"], *cells(mean(method, name), columns)])
            if against_paper:
                theirs = paper.figures(name, method, result["data"][name]["scale"])
                rows[-1] += [cell or "-" for cell in paper.against(theirs, [mean(method, name)])]
    rows = [[printable(cell) for cell in row] for row in rows]
    wide = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(head))]
    pads = [str.ljust] * 3 + [str.rjust] * (len(head) - 3)
    lines = ["  ".join(pad(cell, w) for pad, cell, w in zip(pads, row, wide, strict=False)).rstrip() for row in rows]
    border = result["convention"]["border_pixels"]
    kept = f"{border}-pixel border removed" if border else "whole pictures"
    lines.append(f"PSNR in dB; Y: BT.601 studio range, of grey files their levels; {kept}")
    sizes = [len(m["sets"][s]["images"]) for m in result["methods"] for s in m["sets"] if "fid" in mean(m, s)]
    if sizes and min(sizes) < ENOUGH:
        lines.append(f"FID of {min(sizes)} pictures, fewer than {ENOUGH}, is biased: compare it at that number alone")
    return "\n".join(lines)


def mean(method: dict[str, Any], set_name: str) -> dict[str, float]:
    return method["sets"][set_name]["mean"]


def cells(figures: dict[str, float], columns: Sequence[str]) -> list[str]:
    return [f"{figures[c]:.{2 if c.startswith(('psnr', 'fid')) else 4}f}" if c in figures else "-" for c in columns]


def identity(origin: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two measurements on a set comparable: the same HR, the same LR."""
    return origin["scale"], origin["hr_sha256"], origin.get("lr_sha256", origin["lr"]), origin.get("jpeg")


def load_result(path: Path, field: str = "--add") -> Result:
    """A result that `srgan evaluate --json` wrote. Raises UserError if it is none. `field` names the argument there."""
    try:
        result = from_json(path.read_text())
        for origin in result["data"].values():
            identity(origin)
        for method in result["methods"]:
            measured = list(method["sets"].values())
            figures = [f for each in measured for f in (each["mean"], *each["images"].values())]
            values = [value for each in figures for value in each.values()]
            known = (
                method["sets"].keys() <= result["data"].keys() and set().union(*figures) <= result["convention"].keys()
            )
            numbers = all(type(value) in (int, float) and not math.isnan(value) for value in values)
            whole = all(each["images"] and "psnr_y" in each["mean"] for each in measured)
            plain = isinstance(method["name"], str) and isinstance(method.get("config", {}), dict)
            if not (plain and measured and whole and known and numbers):
                raise ValueError
        if (
            not isinstance(result["code"], dict)
            or type(result["convention"]["border_pixels"]) is not int
            or any(type(origin["scale"]) is not int for origin in result["data"].values())
            or not result["methods"]
            or len({method["name"] for method in result["methods"]}) < len(result["methods"])
        ):
            raise ValueError
        return result
    except OSError as error:
        raise UserError(f"{field}={path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        remedy = "measure again" if field == "--add" else "give another name"
        raise UserError(f"{field}={path}: not a result of srgan evaluate --json, or damaged; {remedy}") from error


def merge(results: Sequence[tuple[str, Result]]) -> Result:
    """One result of several, each with the name it has in messages; the control row is taken once.

    Raises:
      UserError: a figure was measured by another convention, a set of one name is other data or has its pictures under
        other names, a name stands twice.
    """
    first_name, first = results[0]
    merged = {**first, "convention": dict(first["convention"]), "data": dict(first["data"])}
    methods = {method["name"]: {**method, "sets": dict(method["sets"])} for method in first["methods"]}
    pictures: dict[str, Any] = {}
    for name, result in results:
        for key, measured in (each for method in result["methods"] for each in method["sets"].items()):
            if pictures.setdefault(key, measured["images"].keys()) != measured["images"].keys():
                raise UserError(f"{name}: {key} has its pictures under other names than in {first_name}; measure again")
    for name, result in results[1:]:
        for key, value in result["convention"].items():
            if merged["convention"].setdefault(key, value) != value:
                raise UserError(
                    f"{name}: {key} was measured by another convention ({value}) than in {first_name} "
                    f"({merged['convention'][key]}): figures cannot be compared; measure again"
                )
        for key, origin in result["data"].items():
            known = merged["data"].setdefault(key, origin)
            if identity(known) != identity(origin):
                raise UserError(f"{name}: {key} is other data than in {first_name}; figures cannot be compared")
        for method in result["methods"]:
            there = methods.setdefault(method["name"], {**method, "sets": {}})
            if there.get("weights_sha256") != method.get("weights_sha256"):
                raise UserError(f"{name}: {method['name']} is in {first_name} too, with other weights; rename the run")
            for key, old in method["sets"].items():  # what is measured now comes before what was
                new = there["sets"].get(key, {"images": {}, "mean": {}})
                images = {image: figures | new["images"].get(image, {}) for image, figures in old["images"].items()}
                there["sets"][key] = {"images": images, "mean": old["mean"] | new["mean"]}
    return merged | {"methods": list(methods.values()), "code": {n: r["code"] for n, r in results}}
