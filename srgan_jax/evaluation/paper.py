"""The figures of Ledig et al. 2017, x4: tables 1 and 2. PSNR on Y in dB, SSIM as daala's dump_ssim gives it."""

import statistics
from collections.abc import Sequence
from typing import Any

TABLE: dict[str, dict[str, tuple[float, float]]] = {
    "set5": {
        "bicubic": (28.43, 0.8211),
        "SRResNet-MSE": (32.05, 0.9019),
        "SRResNet-VGG22": (30.51, 0.8803),
        "SRGAN-MSE": (30.64, 0.8701),
        "SRGAN-VGG22": (29.84, 0.8468),
        "SRGAN-VGG54": (29.40, 0.8472),
    },
    "set14": {
        "bicubic": (25.99, 0.7486),
        "SRResNet-MSE": (28.49, 0.8184),
        "SRResNet-VGG22": (27.19, 0.7807),
        "SRGAN-MSE": (26.92, 0.7611),
        "SRGAN-VGG22": (26.44, 0.7518),
        "SRGAN-VGG54": (26.02, 0.7397),
    },
    "bsd100": {
        "bicubic": (25.94, 0.6935),
        "SRResNet-MSE": (27.58, 0.7620),
        "SRGAN-VGG54": (25.16, 0.6688),
    },
}
SCALE = 4
GENERATOR = dict(name="srresnet", blocks=16, features=64, norm="batch", skip="none", first_kernel=9, last_kernel=9)
DISCRIMINATOR = dict(features=64, stages=4, dense=1024, norm="batch")
TV = 2e-8  # the paper's weight of it, in SRResNet-VGG22
TOLERANCE = 0.05  # dB that the control row may be off before data or resize are not the paper's


def row(method: dict[str, Any]) -> str | None:
    """The paper's name for a method of a result: its own name if that is one, or else what its config says.

    None for what the paper has no row for: another scale, another generator or discriminator, another loss, LR saved as
    JPEG, self-ensemble.
    """
    name = method["name"]
    if any(name in rows for rows in TABLE.values()):
        return name
    config = method.get("config", {})
    if method.get("self_ensemble"):
        return None
    if config.get("scale") != SCALE or not {"generator", "loss", "discriminator"} <= config.keys():
        return None
    generator, loss = config["generator"], config["loss"]
    feature, pixel, adversarial = loss["feature"], loss["pixel"], loss["adversarial"]
    d = config["discriminator"]
    players = adversarial["kind"], d["name"], d.get("conditional", False), adversarial["weight"]
    if (
        any(generator.get(field, value) != value for field, value in GENERATOR.items())  # older results lack some
        or config.get("data", {}).get("jpeg")
        or loss.get("lpips", {}).get("weight")
        or loss.get("tv", {}).get("weight", 0) > TV
        or (adversarial["weight"] and players != ("nonsaturating", "srgan", False, 1e-3))
        or (adversarial["weight"] and any(d.get(field, value) != value for field, value in DISCRIMINATOR.items()))
    ):
        return None
    if pixel["weight"] and not feature["weight"] and pixel["kind"] == "mse":
        content = "MSE"
    elif (
        feature["weight"]
        and not pixel["weight"]
        and (feature["network"], feature.get("kind", "mse"), feature["after_relu"]) == ("vgg19", "mse", True)
        and feature.get("weights") != "random"
    ):
        content = f"VGG{feature['layer'].replace('.', '')}"
    else:
        return None
    name = f"{'SRGAN' if loss['adversarial']['weight'] else 'SRResNet'}-{content}"
    return name if name in TABLE["set5"] else None


def figures(set_name: str, method: dict[str, Any], scale: int) -> tuple[float, float] | None:
    """(PSNR-Y, SSIM-daala) that the paper gives for this method on this set, None if it gives none."""
    return TABLE.get(set_name.lower(), {}).get(row(method) or "") if scale == SCALE else None


def against(theirs: tuple[float, float] | None, ours: Sequence[dict[str, float]]) -> list[str]:
    """The paper's PSNR-Y, the mean of ours less it, the paper's SSIM-daala, ours less it; "" for what there is not."""
    if theirs is None:
        return [""] * 4
    cells = []
    for value, name, digits in zip(theirs, ("psnr_y", "ssim_daala"), (2, 4), strict=True):
        mean = statistics.fmean(each[name] for each in ours) if ours else None
        cells += [f"{value:.{digits}f}", "" if mean is None else f"{mean - value:+.{digits}f}"]
    return cells


def warnings(result: dict[str, Any]) -> list[str]:
    """A line for each set of which the paper has no figure, or has another one for the control row.

    In the latter case no difference on that set means anything.
    """
    control = result["methods"][0]
    lines = []
    for name, measured in control["sets"].items():
        scale, ours = result["data"][name]["scale"], measured["mean"]["psnr_y"]
        theirs = figures(name, control, scale)
        if theirs is None:
            lines.append(f"warning: {name}: the paper has no figures for a set of this name at x{scale}")
        elif abs(ours - theirs[0]) > TOLERANCE:
            lines.append(
                f"warning: {name}: bicubic is {ours:.2f} dB here and {theirs[0]:.2f} dB in the paper: "
                "the data or the resize is not the paper's"
            )
    return lines
