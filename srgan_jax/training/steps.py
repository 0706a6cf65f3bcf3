"""The whole update: discriminator, generator, averages. Pure, and ignorant of devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from ml_collections import ConfigDict

from srgan_jax import losses
from srgan_jax.data import prepare
from srgan_jax.models.vgg import VGG
from srgan_jax.ops.color import colour_drift
from srgan_jax.training.state import AUGMENT, GanState, TrainState, learning_rate

Metrics = dict[str, Array]
GRADIENT = "_grad_norm"  # g/TERM_grad_norm: of weight * term, at the generator's output
Update = Callable[[GanState, Any, dict[str, Array], Array], tuple[GanState, Metrics]]


def forward(player: TrainState, params: Any, images: Array) -> tuple[Array, Any]:
    """(output, new running statistics) in training mode, where BatchNorm uses the batch's own statistics."""
    variables = {"params": params, "batch_stats": player.batch_stats}
    out, changed = player.apply_fn(variables, images, train=True, mutable=["batch_stats"])
    return out, changed.get("batch_stats", {})


def update_discriminator(
    config: ConfigDict, d: TrainState, sr: Array, hr: Array, key: Array
) -> tuple[TrainState, Metrics]:
    """D's step on real and generated images, in separate batches as in the paper."""
    adversarial = config.loss.adversarial

    def loss_fn(params: Any) -> tuple[Array, tuple[Any, Array, Array]]:
        real, stats = forward(d, params, hr)
        fake, stats = forward(d.replace(batch_stats=stats), params, sr)
        loss = losses.discriminator_adversarial(adversarial.kind, real, fake)
        if adversarial.kind == "wgan-gp":
            mix = jax.random.uniform(key, hr.shape[:1])
            penalty = losses.gradient_penalty(lambda x: forward(d, params, x)[0], hr, sr, mix)
            loss += adversarial.gradient_penalty * penalty
        return loss, (stats, real, fake)

    (loss, (stats, real, fake)), grads = jax.value_and_grad(loss_fn, has_aux=True)(d.params)
    verdict = losses.discriminator_verdict(adversarial.kind, real, fake)
    metrics = {"d/loss": loss, "d/grad_norm": optax.tree.norm(grads)}
    metrics |= {f"d/{name}": value for name, value in verdict.items()}
    return d.apply_gradients(grads=grads, batch_stats=stats), metrics


def make_update(config: ConfigDict, vgg: VGG | None) -> Update:
    """update(state, feature_params, batch, key) -> (state, metrics).

    batch["hr"]: uint8[k, B, crop, crop, 3], k = D's updates per generator update, each on its own crops.
    batch["position"]: int32[B], each crop's place in the global batch.
    """
    weights = {name: config.loss[name].weight for name in losses.TERMS}
    rate = learning_rate(config)

    def update(state: GanState, feature_params: Any, batch: dict[str, Array], key: Array) -> tuple[GanState, Metrics]:
        g, d = state.g, state.d
        metrics: Metrics = {}
        lr, hr, key_d = _crops(config, batch, 0, key)
        for i in range(1, len(batch["hr"])):  # D's updates before the last: G only provides
            assert d is not None
            d, metrics = update_discriminator(config, d, forward(g, g.params, lr)[0], hr, key_d)
            lr, hr, key_d = _crops(config, batch, i, key)

        # The generator's one forward: D learns from its output, and G's gradient goes back through it.
        sr, backward, g_stats = jax.vjp(lambda params: forward(g, params, lr), g.params, has_aux=True)
        if d is not None:
            d, metrics = update_discriminator(config, d, sr, hr, key_d)

        def phi(images: Array) -> Array:
            return vgg.apply({"params": feature_params}, images)  # type: ignore[union-attr, return-value]

        def logits(images: Array) -> Array:
            return forward(d, d.params, images)[0]  # type: ignore[arg-type, union-attr]

        relativistic = config.loss.adversarial.kind == "relativistic" and d is not None
        terms = losses.generator_terms(
            hr,
            config_loss=config.loss,
            features=phi if vgg else None,
            fake_logits=logits if d else None,
            real_logits=logits(hr) if relativistic else None,
        )
        values, gradients = {}, {}  # of each term at the generator's output, so that its part in the whole can be seen
        for name, term in terms.items():
            values[name], gradient = jax.value_and_grad(term)(sr)
            gradients[name] = weights[name] * gradient
        (grads,) = backward(sum(gradients.values()))
        metrics |= {"g/loss": losses.total(values, weights), "g/grad_norm": optax.tree.norm(grads)}
        metrics |= {f"g/{name}": value for name, value in values.items()}
        metrics |= {f"g/{name}{GRADIENT}": optax.tree.norm(gradient) for name, gradient in gradients.items()}
        metrics |= {"g/learning_rate": rate(g.step), "g/colour_drift": colour_drift(sr, hr)}
        g = g.apply_gradients(grads=grads, batch_stats=g_stats)
        if g.ema_params is not None:
            g = g.replace(ema_params=optax.incremental_update(g.params, g.ema_params, 1 - config.ema))
        return GanState(g, d), metrics

    return update


def _crops(config: ConfigDict, batch: dict[str, Array], i: int, key: Array) -> tuple[Array, Array, Array]:
    """(lr, hr, a key to spare) of the i-th set of crops."""
    key_augment, key_d = jax.random.split(jax.random.fold_in(key, i))
    hr = batch["hr"][i]
    if config.data.augment:
        hr = prepare.augment(hr, batch["position"], key_augment)
    lr, hr = prepare.prepare(hr, scale=config.scale, boundary=config.data.boundary)
    return lr, hr, key_d


def make_call(config: ConfigDict, update: Update, crops: Callable, divide: Callable) -> Callable:
    """call(state, feature_params, fed) -> (state, mean metrics): `config.steps_per_call` updates in one program.

    crops(fed, i, step) gives one update's crops, divide keeps them spread over the devices.
    """
    count = config.steps_per_call

    def one(state: GanState, feature_params: Any, fed: Any, i: int | Array) -> tuple[GanState, Metrics]:
        step = state.g.step
        batch = {"hr": divide(crops(fed, i, step)), "position": jnp.arange(config.batch_size)}
        stream = jax.random.fold_in(jax.random.key(config.seed), AUGMENT)
        return update(state, feature_params, batch, jax.random.fold_in(stream, step))

    def looped(state: GanState, feature_params: Any, fed: Any) -> tuple[GanState, Metrics]:
        state, metrics = jax.lax.scan(lambda s, i: one(s, feature_params, fed, i), state, jnp.arange(count))
        return state, jax.tree.map(jnp.mean, metrics)

    def unrolled(state: GanState, feature_params: Any, fed: Any) -> tuple[GanState, Metrics]:
        history = []
        for i in range(count):
            state, metrics = one(state, feature_params, fed, i)
            history.append(metrics)
        return state, jax.tree.map(lambda *values: jnp.mean(jnp.stack(values)), *history)

    # XLA:CPU runs a convolution's weight gradient inside any loop, even of one turn, naively: far slower
    return unrolled if count == 1 or jax.default_backend() == "cpu" else looped
