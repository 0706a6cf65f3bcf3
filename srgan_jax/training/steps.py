"""The whole update: discriminator, generator, averages. Pure, and ignorant of devices but for the axis of means."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array
from ml_collections import ConfigDict

from srgan_jax import losses
from srgan_jax.data import prepare
from srgan_jax.ops.bicubic import upscale
from srgan_jax.ops.color import colour_drift
from srgan_jax.training.pool import through
from srgan_jax.training.state import GanState, TrainState, learning_rate, updates_made

Metrics = dict[str, Array]
JITTER, NOISE, POOL, JPEG = 2, 3, 4, 5  # purposes of an update's random streams; those without a number are older
GRADIENT = "_grad_norm"  # g/TERM_grad_norm: of weight * term, at the generator's output
Update = Callable[[GanState, Any, dict[str, Array], Array], tuple[GanState, Metrics]]


class Crops(NamedTuple):
    """What one forward pass takes; or several of it, stacked, one for each part that gradients are summed over."""

    lr: Array  # [b, l, l, 3], [0, 1]: the generator's input, whatever that is
    hr: Array  # [b, s, s, 3], [-1, 1]
    condition: Array  # [b, s, s, 3], the input at HR's size in [-1, 1]; [b, s, s, 0] where D does not see it
    mix: Array  # [b], uniform in [0, 1): for wgan-gp
    seeds: Array  # uint32[b]: of the generator's noise
    position: Array  # int32[b]: place in the global batch


def forward(player: TrainState, params: Any, images: Array, stats: Any = None, **noise: Array) -> tuple[Array, Any]:
    """(output, new running statistics) in training mode, where BatchNorm uses the batch's own statistics."""
    variables = {"params": params, "batch_stats": player.batch_stats if stats is None else stats}
    out, changed = player.apply_fn(variables, images, train=True, mutable=["batch_stats"], **noise)
    return out, changed.get("batch_stats", {})


def beside(crops: Crops, images: Array) -> Array:
    """What D sees of HR or of G's output: after the condition, if it sees one."""
    return jnp.concatenate([crops.condition, images], axis=-1)


def both_forward(d: TrainState, params: Any, real: Array, fake: Array, stats: Any) -> tuple[Array, Array, Any]:
    """(logits of `real`, of `fake`, new running statistics) in one pass, BatchNorm over both together.

    They alternate, so that of a batch divided over devices each image stays where it is.
    """
    images = jnp.stack([real, fake], axis=1)
    logits, after = forward(d, params, images.reshape(-1, *real.shape[1:]), stats)
    logits = logits.reshape(len(real), 2, *logits.shape[1:])
    return logits[:, 0], logits[:, 1], after


def discriminator_gradient(
    config: ConfigDict, d: TrainState, stats: Any, generated: Array, crops: Crops, axis_name: str | None
) -> tuple[Any, tuple[Any, Metrics]]:
    """(new running statistics, (gradient, figures)) of D on real and generated images.

    They are apart as in the paper, unless discriminator.one_pass is set. generated: with the condition, as `beside`
    puts them.
    """
    adversarial, hr = config.loss.adversarial, beside(crops, crops.hr)

    def loss_fn(params: Any) -> tuple[Array, tuple[Any, Array, Array]]:
        if config.discriminator.one_pass:
            real, fake, after = both_forward(d, params, hr, generated, stats)
        else:
            real, after = forward(d, params, hr, stats)
            fake, after = forward(d, params, generated, after)
        loss = losses.discriminator_adversarial(adversarial.kind, real, fake, axis_name)
        if adversarial.kind == "wgan-gp":
            penalty = losses.gradient_penalty(lambda x: forward(d, params, x)[0], hr, generated, crops.mix)
            loss += adversarial.gradient_penalty * penalty
        return config.discriminator.loss_weight * loss, (after, real, fake)

    (loss, (after, real, fake)), grads = jax.value_and_grad(loss_fn, has_aux=True)(d.params)
    verdict = losses.discriminator_verdict(adversarial.kind, real, fake, axis_name)
    return after, (grads, {"d/loss": loss} | {f"d/{name}": value for name, value in verdict.items()})


def make_update(config: ConfigDict, features: Mapping[str, nn.Module], axis_name: str | None = None) -> Update:
    """update(state, feature_params, batch, key) -> (state, metrics).

    features: the fixed networks of the loss's terms, as build_features gives them; feature_params: their parameters by
    the same names.

    batch["hr"]: uint8[k, b, crop, crop, c], k = D's updates per generator update, each on its own crops; c is 3, or 6
    of pairs, the input before HR.
    batch["position"]: int32[b], each crop's place in the global batch.
    axis_name: under pmap and shard_map, the axis over which the batch is divided and means are taken.
    """
    weights = {name: config.loss[name].weight for name in losses.TERMS}
    rate = learning_rate(config)
    single = config.parallel.accumulate == 1
    statistics_differ = axis_name and config.parallel.batch_norm == "replica"

    def across(stats: Any, tree: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Means over the devices, where XLA does not see them itself; the tree's first is the gradient."""
        if not axis_name:
            return stats, tree
        with jax.named_scope("gradients"):
            grads = jax.lax.pmean(tree[0], axis_name)
        if statistics_differ:
            stats = jax.lax.pmean(stats, axis_name)
        return stats, (grads, *jax.lax.pmean(tree[1:], axis_name))

    def update(state: GanState, feature_params: Any, batch: dict[str, Array], key: Array) -> tuple[GanState, Metrics]:
        g, d, pool = state.g, state.d, state.pool
        metrics: Metrics = {}

        def provide(params: Any, crops: Crops, stats: Any = None) -> tuple[Array, Any]:
            noise = {"noise": crops.seeds} if config.generator.dropout else {}
            return forward(g, params, crops.lr, stats, **noise)

        def generate(crops: Crops, stats: Any) -> tuple[Array, Callable, Any]:
            return jax.vjp(lambda params: provide(params, crops, stats), g.params, has_aux=True)

        for i in range(len(batch["hr"])):  # before the last, G only provides
            parts = make_crops(config, batch, i, key)
            # In one part the generator's one forward serves both: D learns from it, G's gradient goes back through it.
            first, last = jax.tree.map(lambda x: x[0], parts), i == len(batch["hr"]) - 1
            made = generate(first, g.batch_stats) if single and last else None
            if d is None:
                continue

            def d_part(
                carry: tuple[Any, Any], crops: Crops, d: TrainState = d, made: Any = made, i: int = i
            ) -> tuple[tuple[Any, Any], tuple[Any, Metrics]]:
                stats, pool = carry
                generated = beside(crops, made[0] if made else provide(g.params, crops)[0])
                if pool is not None:
                    draw = jax.random.fold_in(jax.random.fold_in(key, i), POOL)
                    generated, pool = through(pool, generated, crops.position, draw, axis_name)
                stats, tree = discriminator_gradient(config, d, stats, generated, crops, axis_name)
                return (stats, pool), tree

            (stats, pool), tree = _over(d_part, (d.batch_stats, pool), parts)
            stats, (grads, metrics) = across(stats, tree)
            metrics["d/grad_norm"] = optax.tree.norm(grads)
            d = d.apply_gradients(grads=grads, batch_stats=stats)

        def fixed(name: str) -> Callable | None:
            return partial(features[name].apply, {"params": feature_params[name]}) if name in features else None

        def judge(crops: Crops, sr: Array) -> tuple[Array, Array | None]:
            """D's logits of G's output and, where the loss asks for them, of HR, as D learnt of them."""
            assert d is not None
            fake, real = beside(crops, sr), beside(crops, crops.hr)
            if config.discriminator.one_pass and config.discriminator.norm == "batch":
                return both_forward(d, d.params, real, fake, None)[1::-1]
            relativistic = config.loss.adversarial.kind == "relativistic"
            return forward(d, d.params, fake)[0], forward(d, d.params, real)[0] if relativistic else None

        def g_part(stats: Any, crops: Crops) -> tuple[Any, tuple[Any, Metrics, Metrics]]:
            sr, backward, stats = made or generate(crops, stats)
            terms = losses.generator_terms(
                crops.hr,
                config_loss=config.loss,
                features=fixed("feature"),
                lpips=fixed("lpips"),
                logits=partial(judge, crops) if d else None,
                axis_name=axis_name,
            )
            values, gradients = {}, {}  # of each term at G's output, so that its part in the whole can be seen
            for name, term in terms.items():
                values[name], gradient = jax.value_and_grad(term)(sr)
                gradients[name] = weights[name] * gradient
            (grads,) = backward(sum(gradients.values()))
            squares = {name: jnp.sum(gradient**2) for name, gradient in gradients.items()}
            return stats, (grads, squares, values | {"colour_drift": colour_drift(sr, crops.hr)})

        stats, (grads, squares, values) = across(*_over(g_part, g.batch_stats, parts))
        drift = values.pop("colour_drift")
        metrics |= {"g/loss": sum(weights[name] * value for name, value in values.items())}
        metrics |= {"g/grad_norm": optax.tree.norm(grads)}
        metrics |= {f"g/{name}": value for name, value in values.items()}
        # each part's loss is a mean over its own images: of the whole batch's it is 1 / pieces
        pieces = config.parallel.accumulate * (jax.lax.axis_size(axis_name) if axis_name else 1)
        metrics |= {f"g/{name}{GRADIENT}": jnp.sqrt(square / pieces) for name, square in squares.items()}
        metrics |= {"g/learning_rate": rate(updates_made(g)), "g/colour_drift": drift}
        g = g.apply_gradients(grads=grads, batch_stats=stats)
        if g.ema_params is not None:
            g = g.replace(ema_params=optax.incremental_update(g.params, g.ema_params, 1 - config.ema))
        return GanState(g, d, pool), metrics

    return update


def make_crops(config: ConfigDict, batch: dict[str, Array], i: int, key: Array) -> Crops:
    """The i-th set of crops in [accumulate, b / accumulate, ...].

    A part takes every accumulate-th crop: the same ones on any number of devices, and as many of each device's own.
    """
    key = jax.random.fold_in(key, i)
    key_augment, key_mix = jax.random.split(key)
    hr, position = batch["hr"][i], batch["position"]
    if config.data.jitter:
        hr = prepare.jitter(hr, config.data.jitter, position, jax.random.fold_in(key, JITTER))
    if config.data.augment:
        hr = prepare.augment(hr, position, key_augment, config.data.turn)
    lr, hr = prepare.prepare(hr, scale=config.scale, data=config.data)
    if config.data.jpeg:
        lr = prepare.compress(lr, config.data.jpeg, position, jax.random.fold_in(key, JPEG))
    condition = hr[..., :0]
    if config.discriminator.conditional:
        condition = 2 * (lr if config.scale == 1 else upscale(lr, config.scale)) - 1

    def draw(sample: Callable, key: Array) -> Array:
        return jax.vmap(lambda place: sample(jax.random.fold_in(key, place)))(position)

    seeds = draw(jax.random.bits, jax.random.fold_in(key, NOISE))
    crops = Crops(lr, hr, condition, draw(jax.random.uniform, key_mix), seeds, position)
    parts = config.parallel.accumulate
    return jax.tree.map(lambda x: x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1), crops)


def _over(function: Callable, stats: Any, parts: Crops) -> tuple[Any, Any]:
    """function(stats, part) -> (stats, tree) over the parts in turn: the last stats, the mean of the trees."""
    first = jax.tree.map(lambda x: x[0], parts)
    count = len(parts.lr)
    if count == 1:
        return function(stats, first)

    def add(carry: tuple[Any, Any], part: Crops) -> tuple[tuple[Any, Any], None]:
        stats, total = carry
        stats, tree = function(stats, part)
        return (stats, jax.tree.map(jnp.add, total, tree)), None

    carry = stats, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, stats, first)[1])
    if unrolls():
        for j in range(count):
            # what the next part waits for, so that the memory of this one is free by then: XLA:CPU heeds no barrier
            done = 0 * jnp.ravel(jax.tree.leaves(carry[1])[0])[0]
            part = jax.tree.map(lambda x: x[j] + done.astype(x.dtype), parts)  # noqa: B023
            carry, _ = add(carry, part)
    else:
        carry, _ = jax.lax.scan(add, carry, parts)
    stats, total = carry
    return stats, jax.tree.map(lambda x: x / count, total)


def unrolls() -> bool:
    """XLA:CPU runs a convolution's weight gradient inside any loop, even of one turn, naively: far slower."""
    return jax.default_backend() == "cpu"
