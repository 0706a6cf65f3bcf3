"""How soon training reaches the paper's figures on Set5; leaves the trained generators behind.

    python -m benchmarks.time_to_quality --photographs DIR --data DIR [--budget-minutes 5] [--gan-minutes 2.5]
        [--speed N] [--gan-speed N] [--vgg FILE | --lpips] [--batch 16] [--crop 192] [--gan-batch 32]
        [--workdir runs/time_to_quality] [--quick]

The paper's SRResNet by mean squared error, then SRGAN from it. With --vgg, weights for the content loss, that is
configs/srgan_vgg54.py, or srgan_vgg53.py where the file holds VGG16, with --lpips configs/srgan_lpips.py with half
its adversarial weight, by which srgan_medium came nearer to HR both ways; its name is that of the weights, too. What
is free is how they are trained: the batch, SRResNet's crop, warm-up and cosine, averaged parameters, bfloat16. The
schedule ends with the updates that the minutes hold. A short run measures how many these are, which compiles the
update once more, since the schedule's length is part of the program; --speed and --gan-speed say it instead, in
updates/s. Compiling, checkpoints and reports come on top of the minutes.

Stopped by SIGTERM or Ctrl-C while it trains, it saves, writes the weights of the last checkpoint and prints what it
has measured until then, for which a time limit should leave it a minute or two. Given again, it goes on where it was;
a report once made is printed again.

The photographs hold no picture of DATA/set5 and DATA/set14, which only report. At the end each checkpoint is measured
on Set5, in float32: seconds are those of the updates before it, without compiling, saving, measuring.
"""

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict

from benchmarks.flops import peak_flops, update_flops
from benchmarks.side_by_side import table
from benchmarks.trainings import CONFIGS, TINY
from srgan_jax import config as configs
from srgan_jax.data.images import list_images
from srgan_jax.errors import UserError
from srgan_jax.evaluation.evaluate import evaluate
from srgan_jax.evaluation.pairs import Pairs, find_set
from srgan_jax.evaluation.results import logged
from srgan_jax.files import replacing
from srgan_jax.memory import keep_memory
from srgan_jax.training.loop import train
from srgan_jax.training.saved_step import saved_steps
from srgan_jax.training.start import load_features
from srgan_jax.training.trained import Generator, load_generator
from srgan_jax.weights.generator_file import write_generator
from srgan_jax.weights.readers import flatten
from srgan_jax.weights.tensors import read_metadata, sha256

MARKS = (31.0, 31.5, 31.8, 32.0, 32.05)  # dB PSNR-Y on Set5; the last is the paper's
POINTS, GAN_POINTS = 20, 5  # checkpoints of the two runs
SHARED = [
    *("data.source=folder", "dtype=bfloat16", "steps_per_call=50", "ema=0.999", "validation.every=0"),
    *("optimizer.schedule=cosine", "optimizer.warmup=200", f"checkpoint.keep={POINTS}", "log.tensorboard=False"),
]
QUICK = [*TINY, "batch_size=4", "dtype=float32", "steps_per_call=1"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with set5 and set14")
    parser.add_argument("--budget-minutes", type=float, default=5, help="of SRResNet's updates")
    parser.add_argument("--gan-minutes", type=float, default=2.5, help="of SRGAN's; 0: none")
    parser.add_argument("--speed", type=float, help="SRResNet's updates/s, instead of a run that measures them")
    parser.add_argument("--gan-speed", type=float, help="SRGAN's")
    content = parser.add_mutually_exclusive_group()
    content.add_argument("--vgg", help="weights for the content loss; without, pixel and adversarial loss alone")
    content.add_argument("--lpips", action="store_true", help="LPIPS for the content loss, after `srgan convert lpips`")
    parser.add_argument("--layer", help="of VGG, instead of the config's")
    parser.add_argument("--batch", type=int, default=16, help="SRResNet's")
    parser.add_argument("--crop", type=int, default=192, help="side of SRResNet's crops; SRGAN's are 96")
    parser.add_argument("--gan-batch", type=int, default=32, help="SRGAN's")
    parser.add_argument("--workdir", type=Path, default=Path("runs/time_to_quality"))
    parser.add_argument("--quick", action="store_true", help="networks and updates so small that nothing is learnt")
    args = parser.parse_args(argv)
    ours = logging.getLogger("srgan_jax")  # as `srgan train` has it
    ours.setLevel(logging.INFO)
    ours.handlers, ours.propagate = [logging.StreamHandler()], False
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax tells of every restore
    keep_memory()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # both reports need the same programs
        jax.config.update("jax_compilation_cache_dir", str(args.workdir.absolute() / "programs"))
    try:
        both(args)
    except UserError as error:
        parser.error(str(error))
    return 0


def both(args: argparse.Namespace) -> None:
    """The two runs and their reports; what cannot work is found before the first.

    Raises:
      UserError: input that cannot work, or training diverged.
    """
    if not list_images(args.photographs):
        raise UserError(f"--photographs={args.photographs}: no image there")
    sets = {name: find_set(args.data / name, scale=4, boundary="clamp")[1] for name in ("set5", "set14")}
    name, more = second_run(args)
    first, second = args.workdir / "srresnet", args.workdir / name
    asked = {"batch": args.batch, "minutes": args.budget_minutes, "speed": args.speed, "crop": args.crop}
    asked_gan = {"batch": args.gan_batch, "minutes": args.gan_minutes, "speed": args.gan_speed}
    asked_gan |= {"vgg": args.vgg, "layer": args.layer, "quick": args.quick, "points": GAN_POINTS}
    asked |= {"quick": args.quick, "points": POINTS}
    planned(first, asked)
    if args.gan_minutes:
        planned(second, asked_gan)
    shared = [f"data.path={args.photographs}", *SHARED, *(QUICK if args.quick else [])]
    gan = [*shared, *([] if args.quick else [f"batch_size={args.gan_batch}"]), *more]
    load_features(load(name, gan))
    sizes = [f"batch_size={args.batch}", f"data.crop={args.crop}"]
    sizes += [f"data.tile={max(256, 4 * args.crop)}"]  # leaves a crop of the stored photographs room to move
    mse = [*shared, *([] if args.quick else sizes), "optimizer.learning_rate=4e-4"]
    run("srresnet_mse", first, asked, mse, sets)
    if args.gan_minutes:
        run(name, second, asked_gan, [*gan, f"init_from={weights_file(first)}"], sets)


def second_run(args: argparse.Namespace) -> tuple[str, list[str]]:
    """Its config, by what the file says that it holds, and fields."""
    fields = ["optimizer.learning_rate=2e-4"]
    if args.lpips:
        return "srgan_lpips", [*fields, "loss.adversarial.weight=0.005"]
    if not args.vgg:
        return "srgan_mse", fields
    fields += [f"loss.feature.weights={args.vgg}"] + [f"loss.feature.layer={args.layer}"] * bool(args.layer)
    stated = read_metadata(Path(args.vgg), "--vgg") if args.vgg.endswith(".safetensors") else {}
    return "srgan_vgg53" if stated.get("network") == "vgg16" else "srgan_vgg54", fields


def run(name: str, workdir: Path, asked: dict[str, Any], fields: list[str], sets: dict[str, Pairs]) -> None:
    """Trains, or goes on, and reports; how many updates the time holds may be asked of a short run, once."""
    plan, quick = planned(workdir, asked), asked["quick"]
    if not plan:
        per_call = load(name, fields).steps_per_call
        speed = asked["speed"] or measured_speed(name, workdir, fields, (4 if quick else 8) * per_call)
        every = max(int(speed * 60 * asked["minutes"] / asked["points"] / per_call), 1) * per_call
        plan = {"steps": (3 if quick else asked["points"]) * every, "every": every} | asked
        with replacing(plan_file(workdir)) as partial:
            partial.write_text(json.dumps(plan))
    every = plan["every"]
    log = [f"checkpoint.every={every}", f"log.every={every}"]
    try:
        finish(load(name, [*fields, *log, f"steps={plan['steps']}"]), workdir)
    except SystemExit:
        printed(measured(workdir, {"set5": sets["set5"]}))
        raise
    report(workdir, sets)


def measured_speed(name: str, workdir: Path, fields: list[str], steps: int) -> float:
    """Updates/s of a short run beside `workdir`."""
    trial = workdir.with_name(f"{workdir.name}_trial")
    log = [f"log.every={steps // 2}", f"checkpoint.every={steps}"]
    shutil.rmtree(trial, ignore_errors=True)  # one that was stopped, whose speed is not that of a whole one
    finish(load(name, [*fields, *log, f"steps={steps}"]), trial)
    return [line["step_per_s"] for line in logged(trial) if "step_per_s" in line][-1]


def plan_file(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}_plan.json")


def weights_file(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}.safetensors")


def planned(workdir: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call planned; nothing where there was none.

    Raises:
      UserError: it was asked for something else.
    """
    path = plan_file(workdir)
    plan = json.loads(path.read_text()) if path.exists() else {}
    others = [f"{name} {plan[name]}, not {value}" for name, value in asked.items() if plan.get(name, value) != value]
    if others:
        raise UserError(f"{path} is for {'; '.join(others)}; give that, or another --workdir")
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
    if path.exists():
        print(path.read_text(), flush=True)
        return
    text = printed(measured(workdir, sets))
    with replacing(path) as partial:
        partial.write_text(text)


def printed(lines: Iterator[str]) -> str:
    """Each as it comes; all of them."""
    said = []
    for line in lines:
        print(line, flush=True)
        said.append(line)
    return "\n".join(said)


def measured(workdir: Path, sets: dict[str, Pairs]) -> Iterator[str]:
    """The last generator as a file; Set5 by seconds, the marks that were reached, all sets at the end.

    The last checkpoint may be one of a stop, which no line of the log has the time of.
    """
    yield f"\n{workdir.name}, on {jax.device_count()} x {jax.devices()[0].device_kind}"
    seconds, total, before = {}, 0.0, 0
    for line in logged(workdir):
        if "step_per_s" in line:
            total += (line["step"] - before) / line["step_per_s"]
            before, seconds[int(line["step"])] = int(line["step"]), total
    saved = saved_steps(workdir / "checkpoints")
    if not saved:
        yield "no checkpoint yet"
        return
    last = generator(workdir, saved[0])
    path = weights_file(workdir)
    write_generator(path, dict(flatten(last.variables)), last.config, last.name, {})
    yield f"{path.name}  sha256 {sha256(path)}"
    steps = sorted(step for step in saved[1:] if step in seconds)
    generators = [*(generator(workdir, step) for step in steps), last]
    with jax.default_matmul_precision("highest"):  # a GPU's float32 is less
        methods = evaluate(generators, {"set5": sets["set5"]})[0]["methods"][1:]
    psnr = [method["sets"]["set5"]["mean"]["psnr_y"] for method in methods]
    timed = [(step, seconds.get(step), value) for step, value in zip([*steps, last.step], psnr, strict=True)]
    rows = [[step, "-" if taken is None else f"{taken:.0f}", f"{value:.2f}"] for step, taken, value in timed]
    yield "\n" + table("updates | s | PSNR-Y on Set5", rows)
    for mark in MARKS if last.config.discriminator.name == "none" else ():
        reached = [taken for _, taken, value in timed if taken is not None and value >= mark]
        yield f"{mark} dB: " + (f"{reached[0]:.0f} s" if reached else "not reached")
    if seconds:
        speed = before / total
        flops = speed * last.config.batch_size * update_flops(last.config)
        share = ""
        if jax.default_backend() != "cpu":  # which would take an hour for that many products
            share = f", {100 * flops / (peak_flops() * jax.device_count()):.0f} % of peak"
        yield f"{speed:.2f} updates/s, {speed * last.config.batch_size:.0f} images/s{share}"
    found = methods[-1]["sets"]
    for name in sets.keys() - found.keys():
        with jax.default_matmul_precision("highest"):
            found |= evaluate([last], {name: sets[name]})[0]["methods"][-1]["sets"]
    means = {name: figures["mean"] for name, figures in found.items()}
    yield "; ".join(f"{name}: {mean['psnr_y']:.2f} dB, {mean['ssim_daala']:.4f}" for name, mean in means.items())


def generator(workdir: Path, step: int) -> Generator:
    """Of a checkpoint; in float32, as its weights are used, whatever it was trained in."""
    found = load_generator(workdir, field="--workdir", which=step)
    return found._replace(network=found.network.clone(dtype=jnp.float32))


if __name__ == "__main__":
    sys.exit(main())
