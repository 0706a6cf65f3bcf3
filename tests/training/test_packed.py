"""A state in a few vectors is the state in another form, and trains as it does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny_gan, tiny_pix2pix
from srgan_jax.fields import check
from srgan_jax.models.build import build_discriminator, build_generator
from srgan_jax.training import packed, parallel, steps
from srgan_jax.training.call import make_call
from srgan_jax.training.state import create_state


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("small", [0, 6, 2**20])
def test_what_is_packed_comes_back(monkeypatch, small):
    monkeypatch.setattr(packed, "SMALL", small)
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(2, 3)), "b": [rng.normal(size=()), rng.normal(size=(1, 2, 3, 4))], "c": {}}
    tree = jax.tree.map(jnp.float32, tree) | {"n": jnp.arange(3)}
    pack, unpack = packed.packing(tree)
    found = pack(tree)
    assert found.small.size == {0: 0, 6: 1, 2**20: 31}[small] and len(found.large) == {0: 4, 6: 3, 2**20: 1}[small]
    assert_equal(unpack(found), tree)

    def loss(tree):
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(tree))

    floats = {name: tree[name] for name in "abc"}
    pack, unpack = packed.packing(floats)
    gradient = jax.grad(lambda vectors: loss(unpack(vectors)))(pack(floats))
    assert_equal(unpack(gradient), jax.grad(loss)(floats))


@pytest.mark.parametrize(
    "fields",
    [{}, {"optimizer.name": "sgd", "ema": 0}, {"discriminator.name": "none", "loss.adversarial.weight": 0}],
    ids=str,
)
def test_a_player_has_few_arrays_while_packed(fields):
    config, state = made(tiny_gan, {"ema": 0.5} | fields)
    small, back = packed.pack_state(state)
    for player in [small.g] + [small.d] * bool(state.d):
        vectors = [x for x in jax.tree.leaves(player) if x.size > 1]
        kinds = 2 + 2 * (config.optimizer.name == "adam") + (player.ema_params is not None)
        assert len(vectors) == kinds and all(x.ndim == 1 for x in vectors)
    assert_equal(back(small), state)


WGAN_GP = {"loss.adversarial.kind": "wgan-gp", "discriminator.norm": "none", "parallel.accumulate": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    "base, fields, mode",
    [
        *((tiny_gan, {"ema": 0.5, "discriminator.updates": 2}, mode) for mode in ("jit", "shard_map", "pmap")),
        (tiny_gan, WGAN_GP, "shard_map"),
        (tiny_pix2pix, {"discriminator.pool": 3}, "jit"),
        (tiny_pix2pix, {"discriminator.pool": 3}, "pmap"),
    ],
    ids=["gan-jit", "gan-shard_map", "gan-pmap", "wgan-gp-shard_map", "pix2pix-jit", "pix2pix-pmap"],
)
def test_packed_updates_equal_the_others(monkeypatch, base, fields, mode):
    """On SGD: Adam makes whole steps of what is rounding."""
    config, state = made(base, fields | {"optimizer.name": "sgd", "parallel.mode": mode})
    config.steps_per_call = 2
    layout = parallel.make_layout(config)
    update = steps.make_update(config, {}, layout.axis_name)
    shape = (config.discriminator.updates, config.batch_size, config.data.crop, config.data.crop, 3)
    hr = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    results = []
    for backend in ("tpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        call = layout.jit(make_call(config, update, lambda fed, i, step, places: fed[i], layout), batched=False)
        start = layout.enter(layout.replicate(jax.tree.map(np.array, state)))
        new, metrics = call(start, {}, layout.feed(hr, batched=False), layout.flag(False))
        results.append(layout.host((new, metrics)))
    (scanned, figures), (got, others) = results
    assert jax.tree.structure(got) == jax.tree.structure(scanned)
    for a, b in zip(*map(jax.tree.leaves, (scanned, got)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    assert not any(np.array_equal(a, b) for a, b in zip(*map(moving, (got, state)), strict=True))
    for name, value in figures.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def moving(state):
    """Every kernel of both players."""
    return [x for x in jax.tree.leaves((state.g.params, state.d.params)) if x.ndim == 4]


def made(base, fields):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    check(config)
    return config, create_state(config, build_generator(config), build_discriminator(config))
