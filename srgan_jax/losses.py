"""One function per loss term. The generator's loss is the sum of weight * term over the weights not zero.

Everything is float32, and finite for logits of any size that training can reach.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import softplus
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from srgan_jax.models.layers import check_choice

PIXEL_KINDS = ("mse", "l1", "charbonnier")
FEATURE_KINDS = ("mse", "l1")
CHANNEL_KINDS = ("mean", "sum")
ADVERSARIAL_KINDS = ("nonsaturating", "minimax", "lsgan", "hinge", "relativistic", "wgan-gp")
TERMS = ("pixel", "feature", "lpips", "adversarial", "tv")

Images = Float[Array, "b h w c"]
Logits = Float[Array, "*b"]
Scalar = Float[Array, ""]


def pixel_loss(kind: str, sr: Images, hr: Images) -> Scalar:
    """Mean distance between images of any one range (the paper's, eq. 4, is "mse" on [-1, 1]).

    "charbonnier" is sqrt(d**2 + 1e-3**2), an L1 that is smooth at zero. ValueError for another kind.
    """
    check_choice("pixel loss", kind, PIXEL_KINDS)
    difference = _float32(sr) - _float32(hr)
    if kind == "mse":
        return jnp.mean(difference**2)
    if kind == "l1":
        return jnp.mean(jnp.abs(difference))
    return jnp.mean(jnp.sqrt(difference**2 + 1e-3**2))


def feature_loss(
    phi_sr: Images, phi_hr: Images, *, scale: float = 1 / 12.75, channels: str = "mean", kind: str = "mse"
) -> Scalar:
    """Mean squared distance of the features after both are multiplied by `scale` (eq. 5); kind="l1": absolute distance.

    Read literally, eq. 5 divides by W*H and sums over channels: channels="sum". The paper's factor
    0.006 = (1/12.75)**2, as reimplementations use it, belongs to channels="mean", and to weights of
    Caffe origin. ValueError for another value of `channels` or `kind`.
    """
    check_choice("feature loss", kind, FEATURE_KINDS)
    check_choice("feature.channels", channels, CHANNEL_KINDS)
    difference = scale * (_float32(phi_sr) - _float32(phi_hr))
    distance = difference**2 if kind == "mse" else jnp.abs(difference)
    return jnp.mean(distance if channels == "mean" else jnp.sum(distance, axis=-1))


def total_variation(sr: Images) -> Scalar:
    """Sum over an image of |dx| + |dy|, all channels, then the mean over the batch.

    The paper (section 3.4) gives its weight, 2e-8, and not whether it is a sum or a mean; either is tiny there.
    """
    sr = _float32(sr)
    dy = jnp.abs(sr[:, 1:] - sr[:, :-1])
    dx = jnp.abs(sr[:, :, 1:] - sr[:, :, :-1])
    return jnp.mean(jnp.sum(dy, axis=(1, 2, 3)) + jnp.sum(dx, axis=(1, 2, 3)))


def discriminator_verdict(
    kind: str, real_logits: Logits, fake_logits: Logits, axis_name: str | None = None
) -> dict[str, Scalar]:
    """How well D tells the two apart: means over the batch of "real" and "fake", "accuracy" and "margin".

    "real" and "fake" are what D says, in its kind's own terms: a probability for nonsaturating and minimax, one against
    the other side's mean for relativistic, the bare output for the others. "accuracy" is the share of both that lies
    on its side of D's threshold: a probability of 1/2, for hinge 0, for lsgan 1/2, for wgan-gp the other side's mean.
    "margin" is mean real logit less mean fake logit. axis_name: as in discriminator_adversarial.
    """
    real, fake = _float32(real_logits), _float32(fake_logits)
    mean_real, mean_fake = _mean(real, axis_name), _mean(fake, axis_name)
    against = (mean_fake, mean_real) if kind in ("relativistic", "wgan-gp") else (0.0, 0.0)
    threshold = 0.5 if kind == "lsgan" else 0.0
    right = jnp.mean(real - against[0] > threshold) + jnp.mean(fake - against[1] < threshold)
    said = (real, fake)
    if kind in ("nonsaturating", "minimax", "relativistic"):
        said = jax.nn.sigmoid(real - against[0]), jax.nn.sigmoid(fake - against[1])
    return {
        "real": jnp.mean(said[0]),
        "fake": jnp.mean(said[1]),
        "accuracy": right / 2,
        "margin": mean_real - mean_fake,
    }


def generator_adversarial(
    kind: str, fake_logits: Logits, real_logits: Logits | None = None, axis_name: str | None = None
) -> Scalar:
    """What the generator minimises, from D's logits of any shape.

    nonsaturating: -log D(sr), eq. 6, as a mean over the batch and not its sum. minimax: log(1 - D(sr)) (Goodfellow et
    al. 2014, eq. 1), whose gradient vanishes while D is winning. lsgan: (D - 1)**2 / 2 (Mao et al. 2017, eq. 9). hinge,
    wgan-gp: -D (Lim & Ye 2017; Gulrajani et al. 2017). relativistic: the average form of Jolicoeur-Martineau 2018, the
    only one to need `real_logits`; axis_name as in discriminator_adversarial. Raises ValueError for another kind or
    missing `real_logits`.
    """
    check_choice("adversarial loss", kind, ADVERSARIAL_KINDS)
    fake = _float32(fake_logits)
    if kind == "nonsaturating":
        return jnp.mean(softplus(-fake))
    if kind == "minimax":
        return jnp.mean(-softplus(fake))
    if kind == "lsgan":
        return jnp.mean((fake - 1) ** 2) / 2
    if kind in ("hinge", "wgan-gp"):
        return -jnp.mean(fake)
    if real_logits is None:
        raise ValueError("the relativistic loss needs real_logits")
    # D's loss with real and fake exchanged.
    return discriminator_adversarial(kind, fake, real_logits, axis_name)


def discriminator_adversarial(
    kind: str, real_logits: Logits, fake_logits: Logits, axis_name: str | None = None
) -> Scalar:
    """What the discriminator minimises, by the same sources as generator_adversarial.

    nonsaturating and minimax share -log D(hr) - log(1 - D(sr)), the negative of eq. 2. For wgan-gp, add
    10 * gradient_penalty. axis_name: under pmap or shard_map the axis that the batch is divided over, for the means
    inside the relativistic loss. Raises ValueError for another kind.
    """
    check_choice("adversarial loss", kind, ADVERSARIAL_KINDS)
    real, fake = _float32(real_logits), _float32(fake_logits)
    if kind in ("nonsaturating", "minimax"):
        return jnp.mean(softplus(-real)) + jnp.mean(softplus(fake))
    if kind == "lsgan":
        return (jnp.mean((real - 1) ** 2) + jnp.mean(fake**2)) / 2
    if kind == "hinge":
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    if kind == "relativistic":
        real_excess, fake_excess = real - _mean(fake, axis_name), fake - _mean(real, axis_name)
        return jnp.mean(softplus(-real_excess)) + jnp.mean(softplus(fake_excess))
    return jnp.mean(fake) - jnp.mean(real)


def gradient_penalty(critic: Callable[[Images], Logits], real: Images, fake: Images, mix: Float[Array, " b"]) -> Scalar:
    """Mean (|gradient of the critic| - 1)**2 at mix * real + (1 - mix) * fake, mix uniform in [0, 1].

    Gulrajani et al. 2017, eq. 3, without its factor 10. Each image's gradient must be its own, so the
    critic may not normalise over the batch.
    """
    mix = _float32(mix)[:, None, None, None]
    images = mix * _float32(real) + (1 - mix) * _float32(fake)
    gradient = jax.grad(lambda x: jnp.sum(_float32(critic(x))))(images)
    # The epsilon keeps the square root's own gradient finite where the critic is flat.
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=(1, 2, 3)) + 1e-12)
    return jnp.mean((norm - 1) ** 2)


def generator_terms(
    hr: Images,
    *,
    config_loss: ConfigDict,
    features: Callable[[Images], Images] | None,
    logits: Callable[[Images], tuple[Logits, Logits | None]] | None,
    lpips: Callable[[Images, Images], Float[Array, " b"]] | None = None,
    axis_name: str | None = None,
) -> dict[str, Callable[[Images], Scalar]]:
    """The generator's terms as functions of sr, not yet weighted, by name in TERMS; one of weight zero is not there.

    hr, sr: [-1, 1]. config_loss: the config's `loss`, with pixel.{kind, weight}, feature.{weight, scale, kind,
    channels}, lpips.weight, adversarial.{kind, weight} and tv.weight. features: phi, images to features.
    lpips: the distances of two batches. logits: D's of sr and, for the relativistic loss, of hr, as a function of sr;
    axis_name: see there. Raises ValueError if a term with a weight lacks its function.
    """
    pixel, feature, adversarial = config_loss.pixel, config_loss.feature, config_loss.adversarial
    terms: dict[str, Callable[[Images], Scalar]] = {}
    if pixel.weight:
        terms["pixel"] = lambda sr: pixel_loss(pixel.kind, sr, hr)
    if feature.weight:
        if features is None:
            raise ValueError("loss.feature.weight is not zero, but there is no feature network")
        phi_hr = jax.lax.stop_gradient(features(hr))  # not as one batch with SR: only SR's needs a backward pass
        settings = {name: feature[name] for name in ("scale", "channels", "kind")}
        terms["feature"] = lambda sr: feature_loss(features(sr), phi_hr, **settings)
    if config_loss.lpips.weight:
        if lpips is None:
            raise ValueError("loss.lpips.weight is not zero, but there is no LPIPS")
        terms["lpips"] = lambda sr: jnp.mean(lpips(sr, jax.lax.stop_gradient(hr)))
    if adversarial.weight:
        if logits is None:
            raise ValueError("loss.adversarial.weight is not zero, but there is no discriminator")
        terms["adversarial"] = lambda sr: generator_adversarial(adversarial.kind, *logits(sr), axis_name)
    if config_loss.tv.weight:
        terms["tv"] = total_variation
    return terms


def _mean(x: Array, axis_name: str | None) -> Scalar:
    """Over the whole batch, of which x may be one device's part."""
    mean = jnp.mean(x)
    return jax.lax.pmean(mean, axis_name) if axis_name else mean


def _float32(x: Array) -> Array:
    return x.astype(jnp.float32)
