"""Each term against a hand-made figure, its behaviour at the extremes, and where its gradient goes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from srgan_jax import losses
from srgan_jax.models.discriminator import Discriminator
from srgan_jax.models.srresnet import SRResNet
from srgan_jax.models.vgg import VGG
from srgan_jax.weights.vgg_file import random_vgg

KINDS = losses.ADVERSARIAL_KINDS
REAL = jnp.array([2.0, 0.0])
FAKE = jnp.array([1.0, -1.0])


def log1pexp(x):
    return np.log1p(np.exp(x))


def weights(**nonzero):
    loss = base.get_config().loss
    for name in loss:
        loss[name].weight = nonzero.get(name, 0.0)
    return loss


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mse", (0.25 + 1) / 4), ("l1", 1.5 / 4), ("charbonnier", (2e-3 + 0.500001 + 1.0000005) / 4)],
)
def test_pixel_loss(kind, expected):
    sr = jnp.array([0.5, -1.0, 0.0, 0.25]).reshape(1, 2, 2, 1)
    hr = jnp.array([0.0, 0.0, 0.0, 0.25]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(losses.pixel_loss(kind, sr, hr), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", losses.PIXEL_KINDS)
def test_pixel_loss_of_equal_images_has_a_finite_gradient(kind):
    gradient = jax.grad(lambda x: losses.pixel_loss(kind, x, jnp.zeros((1, 2, 2, 3))))(jnp.zeros((1, 2, 2, 3)))
    assert jnp.all(jnp.isfinite(gradient))


def test_feature_loss():
    phi = jnp.full((2, 3, 4, 5), 12.75)
    zero = jnp.zeros_like(phi)
    np.testing.assert_allclose(losses.feature_loss(phi, zero), 1.0, rtol=1e-6)
    np.testing.assert_allclose(losses.feature_loss(phi, zero, channels="sum"), 5.0, rtol=1e-6)
    np.testing.assert_allclose(losses.feature_loss(phi, zero, scale=2.0), (2 * 12.75) ** 2, rtol=1e-6)
    np.testing.assert_allclose(losses.feature_loss(zero, phi, scale=2.0, kind="l1"), 2 * 12.75, rtol=1e-6)
    np.testing.assert_allclose(losses.feature_loss(phi, zero, channels="sum", kind="l1"), 5.0, rtol=1e-6)


def test_total_variation_is_a_sum_per_image():
    step = jnp.zeros((1, 4, 6, 1)).at[:, :, 3:].set(2.0)  # four rows each cross one edge of height 2
    assert losses.total_variation(step) == 8.0
    assert losses.total_variation(jnp.concatenate([step, 0 * step])) == 4.0
    assert losses.total_variation(step.transpose(0, 2, 1, 3)) == 8.0


@pytest.mark.parametrize(
    ("kind", "generator", "discriminator"),
    [
        (
            "nonsaturating",
            (log1pexp(-1) + log1pexp(1)) / 2,
            (log1pexp(-2) + log1pexp(0) + log1pexp(1) + log1pexp(-1)) / 2,
        ),
        (
            "minimax",
            np.log(1 - 1 / (1 + np.exp(-1))) / 2 + np.log(1 - 1 / (1 + np.exp(1))) / 2,
            (log1pexp(-2) + log1pexp(0) + log1pexp(1) + log1pexp(-1)) / 2,
        ),
        ("lsgan", (0 + 4) / 4, ((1 + 1) / 2 + (1 + 1) / 2) / 2),
        ("hinge", 0.0, (0 + 1) / 2 + (2 + 0) / 2),
        (
            "relativistic",  # mean real 1, mean fake 0
            (log1pexp(0) + log1pexp(2) + log1pexp(2) + log1pexp(0)) / 2,
            (log1pexp(-2) + log1pexp(0) + log1pexp(0) + log1pexp(-2)) / 2,
        ),
        ("wgan-gp", 0.0, -1.0),
    ],
)
def test_adversarial_losses(kind, generator, discriminator):
    np.testing.assert_allclose(losses.generator_adversarial(kind, FAKE, REAL), generator, rtol=1e-6)
    np.testing.assert_allclose(losses.discriminator_adversarial(kind, REAL, FAKE), discriminator, rtol=1e-6)


@pytest.mark.parametrize("kind", ["hinge", "wgan-gp"])
def test_the_generator_raises_the_critics_mean(kind):
    assert losses.generator_adversarial(kind, jnp.array([3.0, 1.0])) == -2


@pytest.mark.parametrize("loss", [losses.discriminator_adversarial, losses.generator_adversarial])
def test_relativistic_means_are_over_all_devices(loss):
    apart = jax.vmap(lambda a, b: loss("relativistic", a, b, "data"), axis_name="data")(REAL[:, None], FAKE[:, None])
    np.testing.assert_allclose(apart.mean(), loss("relativistic", REAL, FAKE), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_losses_take_maps_of_logits(kind):
    real, fake = REAL.reshape(1, 2, 1), FAKE.reshape(1, 2, 1)
    assert losses.generator_adversarial(kind, fake, real) == losses.generator_adversarial(kind, FAKE, REAL)
    assert losses.discriminator_adversarial(kind, real, fake).shape == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extreme_logits_stay_finite(kind, size, dtype):
    real = jnp.full(4, -size, dtype)
    fake = jnp.full(4, size, dtype)
    g, g_grad = jax.value_and_grad(lambda x: losses.generator_adversarial(kind, x, real))(fake)
    d, d_grad = jax.value_and_grad(lambda pair: losses.discriminator_adversarial(kind, pair[0], pair[1]))((real, fake))
    assert (g.dtype, d.dtype) == (jnp.float32, jnp.float32)
    for value in (g, g_grad, d, *d_grad):
        assert jnp.all(jnp.isfinite(value))


def test_minimax_vanishes_where_nonsaturating_does_not():
    slope = {
        kind: jax.grad(lambda x, kind=kind: losses.generator_adversarial(kind, x))(jnp.array([-20.0]))[0]
        for kind in ("minimax", "nonsaturating")
    }
    np.testing.assert_allclose(slope["nonsaturating"], -1.0, rtol=1e-6)
    np.testing.assert_allclose(slope["minimax"], -np.exp(-20), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_generator_is_pushed_towards_larger_logits(kind):
    gradient = jax.grad(lambda x: losses.generator_adversarial(kind, x, REAL))(jnp.array([-0.5, 0.5]))
    assert jnp.all(gradient < 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.pixel_loss("l3", jnp.zeros((1, 1, 1, 3)), jnp.zeros((1, 1, 1, 3))),
        lambda: losses.feature_loss(jnp.zeros((1, 1, 1, 3)), jnp.zeros((1, 1, 1, 3)), channels="max"),
        lambda: losses.feature_loss(jnp.zeros((1, 1, 1, 3)), jnp.zeros((1, 1, 1, 3)), kind="l3"),
        lambda: losses.generator_adversarial("vanilla", FAKE),
        lambda: losses.discriminator_adversarial("vanilla", REAL, FAKE),
    ],
)
def test_unknown_kinds_are_refused(call):
    with pytest.raises(ValueError, match="choose one of '"):
        call()


def test_relativistic_generator_needs_real_logits():
    with pytest.raises(ValueError, match="real_logits"):
        losses.generator_adversarial("relativistic", FAKE)


@pytest.mark.parametrize(("slope", "expected"), [(3.0, 4.0), (1.0, 0.0), (0.0, 1.0)])
def test_gradient_penalty(slope, expected):
    shape = (2, 4, 4, 3)
    direction = jnp.full(shape[1:], slope / np.sqrt(48))  # a linear critic has this gradient everywhere

    def penalty(direction):
        def critic(x):
            return jnp.sum(x * direction, axis=(1, 2, 3))

        return losses.gradient_penalty(critic, jnp.ones(shape), jnp.zeros(shape), jnp.array([0.25, 0.75]))

    value, gradient = jax.value_and_grad(penalty)(direction)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    assert jnp.all(jnp.isfinite(gradient))


def test_gradient_penalty_is_taken_between_real_and_fake():
    def critic(x):  # the gradient at x is x itself
        return jnp.sum(x**2, axis=(1, 2, 3)) / 2

    real, fake = jnp.full((2, 1, 1, 1), 4.0), jnp.full((2, 1, 1, 1), 2.0)
    value = losses.gradient_penalty(critic, real, fake, jnp.array([0.5, 0.0]))
    np.testing.assert_allclose(value, (2.0**2 + 1.0**2) / 2, rtol=1e-5)


LOGITS = jnp.array([2.0, 0.3, 1.0]), jnp.array([-1.0, 1.2, -0.9])  # of real and generated images; means 1.1, -0.7/3


def probability(*logits):
    return np.mean(1 / (1 + np.exp(-np.array(logits))))


@pytest.mark.parametrize(
    ("kind", "real", "fake", "accuracy"),
    [
        ("nonsaturating", probability(2, 0.3, 1), probability(-1, 1.2, -0.9), 5 / 6),
        ("minimax", probability(2, 0.3, 1), probability(-1, 1.2, -0.9), 5 / 6),
        ("hinge", 1.1, -0.7 / 3, 5 / 6),
        ("lsgan", 1.1, -0.7 / 3, 4 / 6),
        ("relativistic", probability(2 + 0.7 / 3, 0.3 + 0.7 / 3, 1 + 0.7 / 3), probability(-2.1, 0.1, -2.0), 5 / 6),
        ("wgan-gp", 1.1, -0.7 / 3, 5 / 6),
    ],
)
def test_the_verdict_is_in_the_kinds_own_terms(kind, real, fake, accuracy):
    verdict = losses.discriminator_verdict(kind, *LOGITS)
    expected = {"real": real, "fake": fake, "accuracy": accuracy, "margin": 1.1 + 0.7 / 3}
    assert {name: pytest.approx(float(value), rel=1e-5) for name, value in verdict.items()} == expected


# The generator's step with tiny networks.

KEY = jax.random.key(0, impl="rbg")  # compiles three times as fast as the default
LR = jax.random.uniform(jax.random.key(1), (2, 4, 4, 3))
HR = jax.random.uniform(jax.random.key(2), (2, 8, 8, 3), minval=-1.0)
GENERATOR = SRResNet(scale=2, blocks=1, features=4, first_kernel=3, last_kernel=3)
DISCRIMINATOR = Discriminator(features=2, dense=4, norm="none")
PHI = VGG(layer="1.2")


@pytest.fixture(scope="module")
def variables():
    return {
        "g": jax.jit(lambda: GENERATOR.init(KEY, LR, False))(),
        "d": jax.jit(lambda: DISCRIMINATOR.init(KEY, HR, False))(),
        "vgg": {"params": random_vgg("vgg19", "1.2", seed=0)},
    }


@pytest.mark.parametrize("name", losses.TERMS)
def test_term_reaches_the_generator_and_no_frozen_network(variables, name):
    config_loss = weights(**{name: 1.0})

    def loss(g_params, d_params, vgg_params):
        sr, _ = GENERATOR.apply({**variables["g"], "params": g_params}, LR, True, mutable=["batch_stats"])
        frozen = jax.lax.stop_gradient(d_params)
        features = partial(PHI.apply, {"params": vgg_params})
        terms = losses.generator_terms(
            HR,
            config_loss=config_loss,
            features=features,
            lpips=lambda a, b: jnp.mean((features(a) - features(b)) ** 2, axis=(1, 2, 3)),
            logits=lambda x: (DISCRIMINATOR.apply({"params": frozen}, x, True), None),
        )
        assert list(terms) == [name]
        return terms[name](sr)

    params = [variables[network]["params"] for network in ("g", "d", "vgg")]
    to_g, *to_frozen = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*params)
    # A bias in front of a BatchNorm is subtracted again with the mean: its gradient is zero.
    for path, leaf in jax.tree_util.tree_leaves_with_path(to_g):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0) or jax.tree_util.keystr(path).endswith("['bias']")
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(to_frozen))


@pytest.mark.parametrize("name", ["feature", "lpips"])
def test_no_gradient_reaches_the_real_image_through_its_features(variables, name):
    features = partial(PHI.apply, variables["vgg"])

    def loss(hr):
        terms = losses.generator_terms(
            hr,
            config_loss=weights(**{name: 1.0}),
            features=features,
            lpips=lambda a, b: jnp.mean((features(a) - features(b)) ** 2, axis=(1, 2, 3)),
            logits=None,
        )
        return terms[name](jnp.zeros_like(hr))

    value, gradient = jax.value_and_grad(loss)(HR)
    assert value > 0 and not jnp.any(gradient)


def test_feature_term_equals_two_separate_passes(variables):
    def phi(x):
        return PHI.apply(variables["vgg"], x)

    sr = -HR
    terms = losses.generator_terms(HR, config_loss=weights(feature=1.0), features=phi, logits=None)
    np.testing.assert_allclose(terms["feature"](sr), losses.feature_loss(phi(sr), phi(HR)), rtol=1e-5)


def test_terms_of_weight_zero_are_never_computed():
    def never(*_):
        raise AssertionError("computed")

    terms = losses.generator_terms(HR, config_loss=weights(pixel=1.0), features=never, lpips=never, logits=never)
    assert list(terms) == ["pixel"]
    none = losses.generator_terms(HR, config_loss=weights(), features=never, lpips=never, logits=never)
    assert none == {}


@pytest.mark.parametrize(
    ("name", "lacks"), [("feature", "feature network"), ("lpips", "LPIPS"), ("adversarial", "discriminator")]
)
def test_a_weight_without_its_network_is_refused(name, lacks):
    with pytest.raises(ValueError, match=f"loss.{name}.weight is not zero, but there is no {lacks}"):
        losses.generator_terms(HR, config_loss=weights(**{name: 1.0}), features=None, logits=None)
