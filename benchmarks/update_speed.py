"""The speed of a config's update, compiled as training compiles it.

    python -m benchmarks.update_speed --config=configs/quickstart.py [--config.FIELD=VALUE ...] [--updates 20]

Prints one row of a Markdown table. A config of a folder is measured on the bundled photographs by
--config.data.source=bundled. The fed batch is one, used again and again: reading photographs is not in the figure,
cutting crops is where `data.pipeline` is device. A feature network gets random weights: only its shape costs time.
"""

import argparse
import logging
import statistics
import sys
import time

import jax
from absl import flags

from srgan_jax import config as configs
from srgan_jax.data.feed import make_feed
from srgan_jax.data.sources import make_source
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_discriminator, build_features, build_generator
from srgan_jax.training import parallel
from srgan_jax.training.state import create_state
from srgan_jax.training.steps import make_call, make_update
from srgan_jax.weights.vgg_file import random_vgg

HEAD = "device | config | batch | crop | dtype | updates/call | compile s | ms/update (fastest to slowest) | images/s"


def measure(path: str, overrides: list[str], *, updates: int, repeat: int) -> str:
    """The row: the median, over `repeat` rounds of at least `updates` updates each, of a round's mean time.

    Raises:
      UserError: as `srgan train` does.
    """
    config = configs.load(path, overrides)
    mesh = parallel.make_mesh(config.batch_size)
    feed = make_feed(config, make_source(config.data))
    vgg = build_features(config)
    feature = config.loss.feature
    feature_params = random_vgg(feature.network, feature.layer, config.seed) if vgg else {}
    feature_params = parallel.place(feature_params, parallel.replicated(mesh))
    state = create_state(config, build_generator(config), build_discriminator(config))
    state = parallel.place(state, parallel.replicated(mesh))
    fed = next(feed.start(0))
    fed = parallel.place(fed, parallel.over_batch(mesh) if feed.batched else parallel.replicated(mesh))

    call = make_call(config, make_update(config, vgg), feed.crops, parallel.divide(mesh))
    began = time.perf_counter()
    compiled = parallel.compile_call(call, mesh, batched=feed.batched).lower(state, feature_params, fed).compile()
    compile_seconds = time.perf_counter() - began

    calls = -(-updates // config.steps_per_call)
    milliseconds = []
    for round_number in range(repeat + 1):
        began = time.perf_counter()
        for _ in range(calls if round_number else 1):  # the first round only warms up
            state, metrics = compiled(state, feature_params, fed)
        jax.block_until_ready((state, metrics))
        seconds = time.perf_counter() - began
        if round_number:
            milliseconds.append(1000 * seconds / (calls * config.steps_per_call))

    median = statistics.median(milliseconds)
    cells = [
        f"{mesh.size} x {jax.devices()[0].device_kind}",
        " ".join([path, *(text.removeprefix("--config.") for text in overrides)]),
        *(config.batch_size, config.data.crop, config.dtype, config.steps_per_call),
        f"{compile_seconds:.1f}",
        f"{median:.4g} ({min(milliseconds):.4g} to {max(milliseconds):.4g})",
        f"{1000 * config.batch_size / median:.4g}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="update_speed", allow_abbrev=False, description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--updates", type=int, default=20, help="of a round, at least (default 20)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the median is printed (default 3)")
    args, overrides = parser.parse_known_args(argv)
    if min(args.updates, args.repeat) < 1:
        parser.error("--updates and --repeat must be at least 1")
    logging.basicConfig()
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags
    try:
        row = measure(args.config, overrides, updates=args.updates, repeat=args.repeat)
    except UserError as error:
        print(f"update_speed: {error}", file=sys.stderr)
        return 2
    print(f"| {HEAD} |\n|{'---|' * (HEAD.count('|') + 1)}\n{row}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
