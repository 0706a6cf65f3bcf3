"""python restored.py WORKDIR SPEC: digests of what a run goes on from, on this process's devices; not a test itself."""

import sys
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
from absl import flags

from srgan_jax.data.feed import make_feed
from srgan_jax.data.sources import make_source
from srgan_jax.provenance import digest_tree
from srgan_jax.training import parallel, start
from srgan_jax.training.checkpoint import Checkpoints
from srgan_jax.training.trained import load_config

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    workdir, spec = Path(sys.argv[1]), sys.argv[2]
    parallel.start_processes(spec)
    config = load_config(workdir, "")
    layout = parallel.make_layout(config)
    with closing(Checkpoints(workdir)) as checkpoints:
        state, _ = checkpoints.restore(start.initial_state(config, layout, resumed=True))
    feed = make_feed(config, make_source(config.data), layout.own_places())
    at = int(state.g.step)
    fed = layout.feed(next(feed.start(at)), batched=feed.batched)

    def crops(fed, step):
        return layout.divide(feed.crops(fed, 0, step, layout.places()))

    samples = jax.jit(crops, out_shardings=layout.everywhere)(fed, np.int32(at))
    if parallel.is_lead():
        tree = jax.tree.map(parallel.own, (state.g.params, state.g.opt_state, state.d.params, state.d.batch_stats))
        print(layout.mesh.size, jax.process_count(), at, digest_tree(tree), digest_tree(parallel.own(samples)))
