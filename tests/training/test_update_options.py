"""What an update takes from its config, each by what it changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_steps import made, some_batch

from configs import tiny_gan
from srgan_jax.ops.bicubic import upscale
from srgan_jax.training import steps
from srgan_jax.training.pool import Pool
from srgan_jax.training.state import TrainState, optimizers


def configured(**fields):
    config = tiny_gan.get_config()
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


def all_crops(config, batch):
    """Those of each of D's updates."""
    cut = jax.jit(lambda batch, key: [steps.make_crops(config, batch, i, key) for i in range(len(batch["hr"]))])
    return [jax.tree.map(lambda x: x[0], crops) for crops in cut(batch, jax.random.key(0))]


def changes(optimizer, gradients):
    """What each of these gradients in turn adds to a parameter that is one number."""
    state, found = optimizer.init(jnp.zeros(())), []
    for gradient in gradients:
        change, state = optimizer.update(jnp.float32(gradient), state)
        found.append(float(change))
    return found


def test_the_gradient_penalty_has_its_weight():
    """Of a critic w * sum(x), whose gradient is w at each of 12 numbers."""
    adversarial = {"loss__adversarial__kind": "wgan-gp", "loss__adversarial__gradient_penalty": 7.0}
    config = configured(discriminator__loss_weight=0.5, **adversarial)

    def critic(variables, x, **_):
        return variables["params"] * jnp.sum(x, axis=(1, 2, 3)), {}

    d = TrainState.create(apply_fn=critic, params=jnp.float32(2), tx=optax.identity(), batch_stats={}, ema_params=None)
    real, places = jnp.zeros((2, 2, 2, 3)), jnp.arange(2)
    crops = steps.Crops(real, real, real[..., :0], jnp.full(2, 0.3), places, places)
    _, (gradient, metrics) = steps.discriminator_gradient(config, d, {}, real + 1, crops, None)
    side = np.sqrt(12)
    assert float(metrics["d/loss"]) == pytest.approx(0.5 * (2 * 12 + 7 * (2 * side - 1) ** 2), rel=1e-5)
    assert float(gradient) == pytest.approx(0.5 * (12 + 7 * 2 * side * (2 * side - 1)), rel=1e-5)


def test_the_discriminators_rate_goes_by_the_generators_updates():
    step = {"optimizer__schedule": "step", "optimizer__boundaries": (1, 2), "optimizer__factor": 0.1}
    config = configured(optimizer__name="sgd", optimizer__learning_rate=1.0, discriminator__updates=2, **step)
    for_g, for_d = optimizers(config)
    assert changes(for_g, [1] * 3) == pytest.approx([-1, -0.1, -0.01])
    assert changes(for_d, [1] * 6) == pytest.approx([-1, -1, -0.1, -0.1, -0.01, -0.01])


def test_adam_has_the_decays_and_epsilon_of_the_config():
    fields = {"optimizer__b1": 0.6, "optimizer__b2": 0.8, "optimizer__eps": 0.5, "optimizer__learning_rate": 0.1}
    mean, square = (0.6 * 0.4 * 1 + 0.4 * 3) / (1 - 0.6**2), (0.8 * 0.2 * 1 + 0.2 * 9) / (1 - 0.8**2)
    expected = [-0.1 / (1 + 0.5), -0.1 * mean / (np.sqrt(square) + 0.5)]
    for optimizer in optimizers(configured(**fields)):
        assert changes(optimizer, [1, 3]) == pytest.approx(expected, rel=1e-5)


def test_each_of_the_discriminators_updates_draws_anew():
    """Of the same crops it sees other turns, mixtures and noise, beside them the inputs enlarged."""
    config = configured(discriminator__conditional=True)
    batch = some_batch(config, 2)
    first, second = all_crops(config, batch | {"hr": batch["hr"][:1].repeat(2, axis=0)})
    np.testing.assert_allclose(first.condition, 2 * upscale(first.lr, 4) - 1, atol=1e-5)
    for name in ("hr", "lr", "condition", "mix", "seeds"):
        assert np.mean(getattr(first, name) != getattr(second, name)) > 0.5, name


def test_each_of_the_discriminators_updates_changes_the_pool_in_its_own_way(monkeypatch):
    def noted(pool, images, position, key, axis_name):
        drawn = jnp.full(pool.images.shape[1:], jax.random.uniform(key))
        return images, Pool(pool.images.at[pool.filled].set(drawn), pool.filled + 1)

    monkeypatch.setattr(steps, "through", noted)
    monkeypatch.setattr(steps, "discriminator_gradient", lambda config, d, stats, *_: (stats, (d.params, {})))
    config, state, update = made(configured(), discriminator__pool=2, discriminator__updates=2)
    new, _ = jax.jit(update)(state, {}, some_batch(config, 2), jax.random.key(0))
    first, second = new.pool.images[:, 0, 0, 0]
    assert first > 0 and second > 0 and first != second
