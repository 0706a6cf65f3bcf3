"""The update: who learns from what, and several updates in one call."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny, tiny_gan, tiny_pix2pix
from srgan_jax.fields import check
from srgan_jax.models.build import build_discriminator, build_features, build_generator
from srgan_jax.models.lpips import LPIPS
from srgan_jax.training import steps
from srgan_jax.training.call import make_call
from srgan_jax.training.parallel import make_layout
from srgan_jax.training.state import create_state, learning_rate
from srgan_jax.weights.lpips_file import load_lpips


def made(config, **fields):
    for name, value in fields.items():
        config.update_from_flattened_dict({name.replace("__", "."): value})
    check(config)
    state = create_state(config, build_generator(config), build_discriminator(config))
    return config, state, steps.make_update(config, build_features(config))


def some_batch(config, k=1):
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (k, config.batch_size, config.data.crop, config.data.crop, 3), np.uint8)
    return {"hr": jnp.asarray(hr), "position": jnp.arange(config.batch_size)}


forward = jax.jit(steps.forward)  # one program: op by op there would be dozens


def crops_of(config, batch, key):
    """Those that the update sees."""
    crops = jax.jit(lambda batch, key: steps.make_crops(config, batch, 0, key))(batch, key)
    return jax.tree.map(lambda x: x[0], crops)


def changed(before, after):
    return [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)]


def learning(before, after, *still):
    """Whether each parameter changed, but for biases in front of a norm and those of the layers `still`."""
    paths = {tuple(part.key for part in path): x for path, x in jax.tree.leaves_with_path(before)}
    layers = {path[:-1] for path in paths}

    def rests(*path):
        *above, layer, name = path
        norm = layer.replace("conv", "norm")
        return name == "bias" and (layer in still or (norm != layer and (*above, norm) in layers))

    return [moved for path, moved in zip(paths, changed(before, after), strict=True) if not rests(*path)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"loss__adversarial__kind": "relativistic", "loss__pixel__kind": "l1", "ema": 0.9, "discriminator__stages": 4},
        {"loss__adversarial__kind": "wgan-gp", "discriminator__norm": "none"},
        {"discriminator__updates": 2, "loss__adversarial__kind": "hinge"},
        {"discriminator__conditional": True, "discriminator__pool": 3, "discriminator__one_pass": True},
        {"pix2pix": True},
        {"pix2pix": True, "generator__name": "resnet", "loss__adversarial__kind": "lsgan", "parallel__accumulate": 2},
        {"pix2pix": True, "loss__adversarial__kind": "wgan-gp", "discriminator__norm": "instance"},
    ],
    ids=str,
)
def test_both_players_learn_and_stay_finite(fields):
    fields = dict(fields)
    base = tiny_pix2pix if fields.pop("pix2pix", False) else tiny_gan
    config, state, update = made(base.get_config(), **fields)
    k = config.discriminator.updates
    new, metrics = jax.jit(update)(state, {}, some_batch(config, k), jax.random.key(0))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((new, metrics)))
    assert all(changed(state.g.batch_stats, new.g.batch_stats))
    still = ["logit"] * (config.loss.adversarial.kind in ("relativistic", "wgan-gp"))  # differences of logits
    if config.discriminator.norm == "instance":  # has no parameters to be known by
        still += [name for name in state.d.params if re.fullmatch("conv_[1-9]", name)]
    assert all(learning(state.g.params, new.g.params))
    assert all(learning(state.d.params, new.d.params, *still))
    assert int(new.g.step) == 1 and int(new.d.step) == k
    if config.ema:
        average = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.g.params, new.g.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), average, new.g.ema_params)


def test_the_generators_update_is_the_gradient_of_its_whole_loss():
    """The one shared forward pass gives what differentiating the composed loss gives."""
    from srgan_jax import losses

    config, state, update = made(tiny_gan.get_config(), loss__adversarial__weight=0.5)
    batch, key = some_batch(config), jax.random.key(0)
    new, metrics = jax.jit(update)(state, {}, batch, key)

    @jax.jit
    def expected(params, d):
        lr, hr, *_ = crops_of(config, batch, key)

        def loss(params):
            sr = steps.forward(state.g, params, lr)[0]
            logits = steps.forward(d, d.params, sr)[0]
            return losses.pixel_loss("mse", sr, hr) + 0.5 * losses.generator_adversarial("nonsaturating", logits)

        return jax.value_and_grad(loss)(params)

    # D's part in G's loss is D after its own step, with the statistics of the batch
    loss, grads = expected(state.g.params, new.d)
    assert float(metrics["g/loss"]) == pytest.approx(float(loss), rel=1e-4)
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    assert float(metrics["g/grad_norm"]) == pytest.approx(norm, rel=1e-3)


def test_a_conditional_update_is_the_gradient_of_the_composed_losses():
    """Of both players, from image to image: D sees the input beside each image, G drops what its seeds say."""
    from srgan_jax import losses

    config, state, update = made(tiny_pix2pix.get_config(), discriminator__pool=0)
    batch, key = some_batch(config), jax.random.key(0)
    new, metrics = jax.jit(update)(state, {}, batch, key)
    crops = crops_of(config, batch, key)
    np.testing.assert_allclose(crops.condition, 2 * crops.lr - 1, atol=1e-6)

    @jax.jit
    def expected(g_params, d_params, d):
        def sees(params, images):
            return steps.forward(d, params, jnp.concatenate([2 * crops.lr - 1, images], -1))[0]

        def output(params):
            return steps.forward(state.g, params, crops.lr, noise=crops.seeds)[0]

        def d_loss(params):
            real, fake = sees(params, crops.hr), sees(params, output(g_params))
            return 0.5 * losses.discriminator_adversarial("nonsaturating", real, fake)

        def g_loss(params):
            sr = output(params)
            fooled = losses.generator_adversarial("nonsaturating", sees(new.d.params, sr))
            return 100 * jnp.mean(jnp.abs(sr - crops.hr)) + fooled

        return jax.value_and_grad(d_loss)(d_params), jax.value_and_grad(g_loss)(g_params)

    for name, (loss, grads) in zip("dg", expected(state.g.params, state.d.params, state.d), strict=True):
        assert float(metrics[f"{name}/loss"]) == pytest.approx(float(loss), rel=1e-4)
        norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
        assert float(metrics[f"{name}/grad_norm"]) == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize("name", ["srgan", "patchgan"])
def test_one_pass_of_the_discriminator_equals_two_without_batch_statistics(name, norm):
    results = []
    for one_pass in (False, True):
        fields = {"discriminator__norm": norm, "discriminator__one_pass": one_pass, "optimizer__name": "sgd"}
        fields |= {"discriminator__name": name, "discriminator__patch": 34, "data__crop": 32}
        config, state, update = made(tiny_gan.get_config(), **fields)
        new, metrics = jax.jit(update)(state, {}, some_batch(config), jax.random.key(0))
        results.append((new, metrics))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    assert any(changed(state.d.params, new.d.params))


def test_one_pass_of_the_discriminator_has_the_statistics_of_both():
    config, state, update = made(tiny_gan.get_config(), discriminator__one_pass=True)
    batch, key = some_batch(config), jax.random.key(0)
    new, metrics = jax.jit(update)(state, {}, batch, key)
    lr, hr, *_ = crops_of(config, batch, key)
    images = jnp.concatenate([hr, forward(state.g, state.g.params, lr)[0]])
    logits, stats = forward(state.d, state.d.params, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), new.d.batch_stats, stats)
    assert float(metrics["d/real"]) == pytest.approx(float(jnp.mean(jax.nn.sigmoid(logits[: len(hr)]))), rel=1e-4)
    assert float(metrics["d/fake"]) == pytest.approx(float(jnp.mean(jax.nn.sigmoid(logits[len(hr) :]))), rel=1e-4)


@pytest.mark.parametrize("kind", ["nonsaturating", "relativistic"])
def test_in_one_pass_the_generator_is_judged_as_the_discriminator_learnt(kind):
    from srgan_jax import losses

    fields = {"discriminator__one_pass": True, "loss__adversarial__kind": kind, "loss__pixel__weight": 0.0}
    config, state, update = made(tiny_gan.get_config(), **fields)
    batch, key = some_batch(config), jax.random.key(0)
    new, metrics = jax.jit(update)(state, {}, batch, key)

    @jax.jit
    def expected(params, d):
        lr, hr, *_ = crops_of(config, batch, key)

        def loss(params):
            images = jnp.concatenate([hr, forward(state.g, params, lr)[0]])
            logits = forward(d, d.params, images)[0]
            return losses.generator_adversarial(kind, logits[len(hr) :], logits[: len(hr)])

        return jax.value_and_grad(loss)(params)

    loss, grads = expected(state.g.params, new.d)
    assert float(metrics["g/adversarial"]) == pytest.approx(float(loss), rel=1e-4)
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    weight = config.loss.adversarial.weight
    assert float(metrics["g/grad_norm"]) == pytest.approx(weight * norm, rel=1e-3)


def test_each_terms_gradient_at_the_generators_output_is_recorded():
    """For the pixel term by hand: d mean((sr - hr)^2) / d sr = 2 (sr - hr) / n."""
    config, state, update = made(tiny_gan.get_config(), loss__pixel__weight=0.5, loss__tv__weight=1e-6)
    batch, key = some_batch(config), jax.random.key(0)
    _, metrics = jax.jit(update)(state, {}, batch, key)
    lr, hr, *_ = crops_of(config, batch, key)
    error = forward(state.g, state.g.params, lr)[0] - hr
    expected = 0.5 * 2 * np.linalg.norm(error) / error.size
    assert float(metrics["g/pixel_grad_norm"]) == pytest.approx(float(expected), rel=1e-4)
    assert {"g/adversarial_grad_norm", "g/tv_grad_norm", "g/colour_drift", "d/accuracy", "d/margin"} <= set(metrics)


def test_lpips_trains_the_generator(lpips_files):
    config, state, update = made(tiny.get_config(), loss__pixel__weight=0.0, loss__lpips__weight=2.0)
    params = {"lpips": load_lpips(lpips_files["vgg"], "lpips").params}
    batch, key = some_batch(config), jax.random.key(0)
    new, metrics = jax.jit(update)(state, params, batch, key)
    assert all(learning(state.g.params, new.g.params))
    lr, hr, *_ = crops_of(config, batch, key)
    sr, _ = forward(state.g, state.g.params, lr)
    expected = float(jnp.mean(jax.jit(LPIPS("vgg").apply)({"params": params["lpips"]}, sr, hr)))
    assert expected > 0.1 and metrics["g/lpips"] == pytest.approx(expected, rel=1e-4)
    assert metrics["g/loss"] == pytest.approx(2 * expected, rel=1e-4)


def test_fixed_networks_are_cast_once_in_a_call_but_for_the_heads_of_lpips():
    config, state, _ = made(tiny.get_config(), dtype="bfloat16")
    conv = {"kernel": jnp.zeros((3, 3, 3, 4)), "bias": jnp.zeros(4)}
    params, seen = {"feature": {"block1_conv1": conv}, "lpips": {"conv1": conv, "head1": jnp.zeros(4)}}, []

    def update(state, feature_params, batch, key):
        seen.append(jax.tree.map(lambda x: str(x.dtype), feature_params))
        return state, {"g/loss": jnp.zeros(())}

    call = make_call(config, update, lambda fed, i, step, places: fed, make_layout(config))
    jax.eval_shape(call, state, params, some_batch(config)["hr"], jnp.zeros(1, jnp.int32))
    cast = dict.fromkeys(conv, "bfloat16")
    assert seen == [{"feature": {"block1_conv1": cast}, "lpips": {"conv1": cast, "head1": "float32"}}]


def test_feature_loss_trains_the_generator_with_a_frozen_network():
    from srgan_jax.weights.vgg_file import random_vgg

    config, state, update = made(
        tiny.get_config(), loss__pixel__weight=0.0, loss__feature__weight=1.0, loss__feature__layer="1.2"
    )
    params = {"feature": random_vgg("vgg19", "1.2", 0)}
    new, metrics = jax.jit(update)(state, params, some_batch(config), jax.random.key(0))
    assert all(learning(state.g.params, new.g.params))
    assert "g/pixel" not in metrics and new.d is None


@pytest.mark.parametrize("backend", ["cpu", "tpu", "gpu"], ids=["unrolled", "scanned", "packed"])
def test_several_updates_in_one_call_equal_as_many_calls(monkeypatch, backend):
    config, state, update = made(tiny.get_config(), generator__norm="none")
    batches = jnp.stack([some_batch(config)["hr"] + i for i in range(3)])

    def crops(fed, i, step, places):
        return fed[i]

    layout = make_layout(config)
    one, quiet = jax.jit(make_call(config, update, crops, layout)), layout.flag(False)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config.steps_per_call = 3
    three = jax.jit(make_call(config, update, crops, layout))

    expected, losses = state, []
    for i in range(3):
        expected, metrics = one(expected, {}, batches[i : i + 1], quiet)
        losses.append(float(metrics["g/loss"]))
    got, metrics = three(state, {}, batches, quiet)
    assert float(metrics["g/loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_schedules_are_functions_of_the_step():
    config = tiny.get_config()
    config.optimizer.update(learning_rate=1.0, schedule="step", boundaries=(10, 20), factor=0.1)
    rate = learning_rate(config)
    assert [float(rate(n)) for n in (0, 9, 10, 20)] == pytest.approx([1, 1, 0.1, 0.01])
    config.optimizer.update(schedule="cosine", warmup=4)
    config.steps = 100
    rate = learning_rate(config)
    assert float(rate(0)) == pytest.approx(0.25) and float(rate(50)) == pytest.approx(0.5)
    assert float(rate(100)) == pytest.approx(0, abs=1e-6)
    config.optimizer.update(schedule="linear", warmup=0, boundaries=(40,))
    rate = learning_rate(config)
    assert [float(rate(n)) for n in (0, 40, 70, 100)] == pytest.approx([1, 1, 0.5, 0])
