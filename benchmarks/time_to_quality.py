"""How soon training reaches the paper's figures on Set5; leaves the trained generators behind.

    python -m benchmarks.time_to_quality --photographs DIR --data DIR [--budget-minutes 12] [--gan-minutes 8]
        [--vgg FILE | --lpips] [--batch 64] [--crop 96] [--workdir runs/time_to_quality] [--quick]

The paper's SRResNet by mean squared error, then SRGAN from it. With --vgg, weights for the content loss, that is
configs/srgan_vgg54.py, or srgan_vgg53.py where the file holds VGG16, with --lpips configs/srgan_lpips.py; its name is
that of the weights, too. What is free is how they are trained: the batch, SRResNet's crop, warm-up and cosine, averaged
parameters, bfloat16. A short run measures the speed, from which the number of updates follows that the budget holds;
the schedule ends there. Stopped and given again, it goes on where it was; a report once made is printed again.

The photographs hold no picture of DATA/set5 and DATA/set14, which only report; a twelfth of them is held out. At the
end each checkpoint is measured on Set5: seconds are those of the updates before it, without compiling, saving,
measuring.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict

from benchmarks.flops import peak_flops, update_flops
from benchmarks.side_by_side import table
from benchmarks.trainings import CONFIGS
from srgan_jax import config as configs
from srgan_jax.data.images import list_images
from srgan_jax.errors import UserError
from srgan_jax.evaluation.evaluate import evaluate
from srgan_jax.evaluation.pairs import Pairs, find_set
from srgan_jax.evaluation.results import logged
from srgan_jax.files import replacing
from srgan_jax.inference.export import export
from srgan_jax.memory import keep_memory
from srgan_jax.training.loop import train
from srgan_jax.training.saved_step import saved_steps
from srgan_jax.training.start import load_features
from srgan_jax.training.trained import load_generator
from srgan_jax.training.validate import Validation
from srgan_jax.weights.tensors import read_metadata

MARKS = (31.0, 31.5, 31.8, 32.0, 32.05)  # dB PSNR-Y on Set5; the last is the paper's
POINTS = 20  # checkpoints of a run
HELD_OUT = 12  # every so many-th photograph
QUICK = [
    *("generator.blocks=1", "generator.features=8", "discriminator.features=8", "discriminator.dense=16"),
    "discriminator.stages=1",
    *("data.crop=32", "batch_size=4", "dtype=float32", "steps_per_call=1", "validation.crop=0"),
]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with set5 and set14")
    parser.add_argument("--budget-minutes", type=float, default=12, help="of SRResNet's updates")
    parser.add_argument("--gan-minutes", type=float, default=8, help="of SRGAN's; 0: none")
    content = parser.add_mutually_exclusive_group()
    content.add_argument("--vgg", help="weights for the content loss; without, pixel and adversarial loss alone")
    content.add_argument("--lpips", action="store_true", help="LPIPS for the content loss, after `srgan convert lpips`")
    parser.add_argument("--layer", help="of VGG, instead of the config's")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--crop", type=int, default=96, help="side of SRResNet's crops; SRGAN's are 96")
    parser.add_argument("--workdir", type=Path, default=Path("runs/time_to_quality"))
    parser.add_argument("--quick", action="store_true", help="networks and updates so small that nothing is learnt")
    args = parser.parse_args(argv)
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax tells of every restore
    keep_memory()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # both reports need the same programs
        jax.config.update("jax_compilation_cache_dir", str(args.workdir.absolute() / "programs"))
    try:
        if len(list_images(args.photographs)) < 2:
            raise UserError(f"--photographs={args.photographs}: fewer than two images there; one is held out")
        sets = {name: find_set(args.data / name, scale=4, boundary="clamp")[1] for name in ("set5", "set14")}
        name, more = second_run(args)
        first, second = args.workdir / "srresnet", args.workdir / name
        planned(first, args.budget_minutes)
        if args.gan_minutes:
            planned(second, args.gan_minutes)
        fields = shared(args)
        load_features(load(name, [*fields, *more]))
        mse = [*fields, *([] if args.quick else crops(args.crop)), "optimizer.learning_rate=4e-4"]
        Validation(load("srresnet_mse", mse))
    except UserError as error:  # now, not after the first run
        parser.error(str(error))
    run("srresnet_mse", first, args.budget_minutes, mse, args.quick)
    report(first, sets)
    if args.gan_minutes:
        run(name, second, args.gan_minutes, [*fields, *more, f"init_from={first}"], args.quick)
        report(second, sets)
    return 0


def second_run(args: argparse.Namespace) -> tuple[str, list[str]]:
    """Its config, by what the file says that it holds, and fields."""
    fields = ["optimizer.learning_rate=2e-4"]
    if args.lpips:
        return "srgan_lpips", fields
    if not args.vgg:
        return "srgan_mse", fields
    fields += [f"loss.feature.weights={args.vgg}"] + [f"loss.feature.layer={args.layer}"] * bool(args.layer)
    stated = read_metadata(Path(args.vgg), "--vgg") if args.vgg.endswith(".safetensors") else {}
    return "srgan_vgg53" if stated.get("network") == "vgg16" else "srgan_vgg54", fields


def crops(side: int) -> list[str]:
    """Tiles of the stored photographs leave a crop room to move."""
    return [f"data.crop={side}", f"data.tile={max(256, 4 * side)}"]


def shared(args: argparse.Namespace) -> list[str]:
    """The fields of both runs; photographs are linked into a folder to train on and one to validate on."""
    for number, path in enumerate(list_images(args.photographs)):
        part = args.workdir / ("held_out" if number % HELD_OUT == 0 else "photographs")
        part.mkdir(parents=True, exist_ok=True)
        link = part / f"{number:05}{path.suffix}"
        if not link.exists():
            link.symlink_to(path.resolve())
    return [
        *("data.source=folder", f"data.path={args.workdir}/photographs", f"validation.path={args.workdir}/held_out"),
        *(f"batch_size={args.batch}", "dtype=bfloat16", "steps_per_call=50", "ema=0.999", "validation.crop=512"),
        *("optimizer.schedule=cosine", "optimizer.warmup=200", f"checkpoint.keep={POINTS}", "log.tensorboard=False"),
        *(QUICK if args.quick else []),
    ]


def run(name: str, workdir: Path, minutes: float, fields: list[str], quick: bool) -> None:
    """Trains, or goes on; how many updates the time holds is asked of a short run, once."""
    plan = planned(workdir, minutes)
    if not plan:
        per_call = load(name, fields).steps_per_call
        steps = 4 * per_call if quick else 8 * per_call
        trial = workdir.with_name(f"{workdir.name}_trial")
        log = ["validation.every=0", f"log.every={2 * per_call}", f"checkpoint.every={steps}"]
        shutil.rmtree(trial, ignore_errors=True)  # one that was stopped, whose speed is not that of a whole one
        finish(load(name, [*fields, *log, f"steps={steps}"]), trial)
        speed = [line["step_per_s"] for line in logged(trial) if "step_per_s" in line][-1]
        every = max(int(speed * 60 * minutes / POINTS / per_call), 1) * per_call
        plan = {"steps": 3 * every if quick else POINTS * every, "every": every, "minutes": minutes}
        with replacing(plan_file(workdir)) as partial:
            partial.write_text(json.dumps(plan))
    every = plan["every"]
    log = [f"checkpoint.every={every}", f"validation.every={every}", f"log.every={every}"]
    finish(load(name, [*fields, *log, f"steps={plan['steps']}"]), workdir)


def plan_file(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}_plan.json")


def planned(workdir: Path, minutes: float) -> dict[str, Any]:
    """What an earlier call planned; nothing where there was none.

    Raises:
      UserError: it planned for other minutes.
    """
    path = plan_file(workdir)
    plan = json.loads(path.read_text()) if path.exists() else {}
    if plan.get("minutes", minutes) != minutes:
        raise UserError(f"{path} is for {plan['minutes']:g} minutes, not {minutes:g}; give those, or another --workdir")
    return plan


def finish(config: ConfigDict, workdir: Path) -> None:
    """Trains to the end; SystemExit where a signal stops it before."""
    step = int(train(config, workdir).g.step)
    if step < config.steps:
        raise SystemExit(f"{workdir} stopped at step {step} of {config.steps}; the same command goes on")


def load(name: str, fields: list[str]) -> ConfigDict:
    return configs.load(str(CONFIGS / f"{name}.py"), [f"--config.{field}" for field in fields])


def report(workdir: Path, sets: dict[str, Pairs]) -> None:
    """Prints what `measured` says, once made."""
    path = workdir.with_name(f"{workdir.name}_report.txt")
    if not path.exists():
        text = measured(workdir, sets)
        with replacing(path) as partial:
            partial.write_text(text)
    print(path.read_text(), flush=True)


def measured(workdir: Path, sets: dict[str, Pairs]) -> str:
    """Set5 by seconds, the marks that were reached, both sets at the end; the last generator as a file."""
    seconds, total, before = {}, 0.0, 0
    for line in logged(workdir):
        if "step_per_s" in line:
            total += (line["step"] - before) / line["step_per_s"]
            before, seconds[int(line["step"])] = int(line["step"]), total
    steps = sorted(step for step in saved_steps(workdir / "checkpoints") if step in seconds)
    generators = [load_generator(workdir, field="--workdir", which=str(step)) for step in steps]
    last = generators[-1]
    said = [f"\n{workdir.name}, on {jax.device_count()} x {jax.devices()[0].device_kind}\n"]
    files = export(
        last.network,
        last.variables,
        last.config,
        last.name,
        output=workdir.with_name(f"{workdir.name}_weights"),
        formats=["safetensors"],
        overwrite=True,
    )
    methods = evaluate(generators, {"set5": sets["set5"]})[0]["methods"][1:]
    psnr = [method["sets"]["set5"]["mean"]["psnr_y"] for method in methods]
    rows = [[step, f"{seconds[step]:.0f}", f"{value:.2f}"] for step, value in zip(steps, psnr, strict=True)]
    said.append(table("updates | s | PSNR-Y on Set5", rows))
    for mark in MARKS:
        reached = [seconds[step] for step, value in zip(steps, psnr, strict=True) if value >= mark]
        said.append(f"{mark} dB: " + (f"{reached[0]:.0f} s" if reached else "not reached"))
    speed = steps[-1] / seconds[steps[-1]]
    flops = speed * last.config.batch_size * update_flops(last.config)
    share = ""
    if jax.default_backend() != "cpu":  # which would take an hour for that many products
        share = f", {100 * flops / (peak_flops() * jax.device_count()):.0f} % of peak"
    said.append(f"{speed:.2f} updates/s, {speed * last.config.batch_size:.0f} images/s{share}")
    said += [f"{workdir.name}_weights/{path.name}  sha256 {path.sha256}" for path in files]
    others = evaluate([last], {"set14": sets["set14"]})[0]["methods"][-1]["sets"]
    means = {name: found["mean"] for name, found in (methods[-1]["sets"] | others).items()}
    said.append("; ".join(f"{name}: {mean['psnr_y']:.2f} dB, {mean['ssim_daala']:.4f}" for name, mean in means.items()))
    return "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())
