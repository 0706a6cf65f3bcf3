"""srgan calibrate --config=FILE --reference=VGG19_CAFFE [--config.FIELD=VALUE ...]: proposes loss.feature.weight.

The weight under which content and adversarial gradient are in the ratio that the paper's numbers have with Caffe's
weights.
"""

import argparse
from pathlib import Path

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.training.calibrate import calibrate


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan calibrate", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--config", required=True, help="with the feature network, layer, origin and weights to be used"
    )
    parser.add_argument(
        "--reference", required=True, type=Path, help="VGG19 weights of Caffe origin, .npz or .safetensors"
    )
    parser.add_argument("--batches", type=int, default=4, metavar="N", help="of crops to measure on (default 4)")
    args, overrides = parser.parse_known_args(argv)
    if args.batches < 1:
        raise UserError(f"--batches={args.batches}: must be 1 or more")
    config = configs.load(args.config, overrides)
    settings = calibrate(config, args.reference, batches=args.batches)
    sr = config.init_from or "bicubic upscaling"
    print(
        f"gradient norms at the generator's output, mean of {args.batches} batches of {config.batch_size}, SR by {sr}"
    )
    print(f"{'':10}{'features':24}{'weight':>10}{'content':>12}{'adversarial':>14}{'ratio':>10}")
    for name, features, weight, content, adversarial in settings:
        print(f"{name:10}{features:24}{weight:10.4g}{content:12.4g}{adversarial:14.4g}{content / adversarial:10.4g}")
    origin = config.loss.feature.origin
    print(f"--config.loss.feature.weight={settings[-1].weight:.4g} --config.loss.feature.weight_for={origin}")
    return 0
