"""BatchNorm's statistics that are saved with averaged parameters."""

from itertools import islice

import jax
import numpy as np
import pytest
from running import leaves, train

from srgan_jax import config as configs
from srgan_jax.data.host_pipeline import batches
from srgan_jax.data.sources import make_source
from srgan_jax.training import parallel, statistics
from srgan_jax.training.start import initial_state
from srgan_jax.training.state import AUGMENT
from srgan_jax.training.statistics import CROPS
from srgan_jax.training.steps import make_crops
from srgan_jax.training.trained import load_generator

NORMS = {("block_0", "norm_0"): ("block_0", "conv_0"), ("norm_after",): ("conv_after",)}  # what each is given


@pytest.mark.slow
def test_they_are_of_the_averages_on_the_first_crops(tmp_path):
    """The parts of a batch, and not the whole, are what BatchNorm sees; D's updates have crops of their own."""
    fields = ("steps=4", "checkpoint.every=2", "validation.every=0", "log.tensorboard=False", "parallel.accumulate=2")
    fields += ("discriminator.updates=2", "data.jpeg=(30, 90)", "optimizer.learning_rate=0.01")
    train("tiny_gan", tmp_path / "run", *fields, "ema=0.9")
    network, variables, config, *_ = load_generator(tmp_path / "run", field="", which="latest")
    kernel, arrays = variables["params"]["block_0"]["conv_0"]["kernel"], leaves(tmp_path / "run")
    assert (kernel == arrays["/g/ema_params/block_0/conv_0/kernel"]).all()
    assert (kernel != arrays["/g/params/block_0/conv_0/kernel"]).any()

    source, single = make_source(config.data), config.copy_and_resolve_references()
    single.parallel.accumulate, size = 1, config.batch_size // 2
    crops = batches(source, seed=config.seed, batch_size=size, crop=config.data.crop)

    @jax.jit
    def given(hr, number):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), AUGMENT), number)
        lr = make_crops(single, {"hr": hr[None], "position": jax.numpy.arange(size)}, 0, key).lr[0]
        return network.apply(variables, lr, train=True, mutable=["intermediates"], capture_intermediates=True)[1]

    wanted = {norm: [] for norm in NORMS}
    for number in range(CROPS // size):
        seen = given(crops[number], number)["intermediates"]
        for norm, layer in NORMS.items():
            x = np.asarray(_at(seen, layer)["__call__"][0], np.float64)
            wanted[norm].append([x.mean((0, 1, 2)), x.var((0, 1, 2))])
    for norm, moments in wanted.items():
        mean, var = np.mean(moments, 0)
        saved = _at(variables["batch_stats"], norm)
        np.testing.assert_allclose(saved["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(saved["var"], var, rtol=1e-4)


@pytest.mark.parametrize(("size", "count"), [(64, 20), (12, 27)])
def test_they_are_of_320_crops_and_20_batches_at_least(monkeypatch, size, count):
    config = configs.load("configs/tiny.py", ["--config.ema=0.9", f"--config.batch_size={size}"])
    source, layout = make_source(config.data), parallel.make_layout(config)
    taken = []
    monkeypatch.setattr(statistics, "islice", lambda *given: taken.extend(islice(*given)) or taken)
    state = statistics.make_statistics(config, source, layout)(initial_state(config, layout, resumed=False))
    assert len(taken) == count and {batch.shape[:2] for batch in taken} == {(1, size)}
    assert state.g.batch_stats["norm_after"]["var"].min() > 0


def _at(tree, path):
    for name in path:
        tree = tree[name]
    return tree
