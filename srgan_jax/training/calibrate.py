"""The weight of the content loss for feature weights other than Caffe's.

The paper's numbers with Caffe's VGG19 (features times 1/12.75, 1e-3 of the adversarial loss) mean a certain ratio of
content to adversarial gradient; the paper itself does not say whose weights it took, nor the range of their input.
Other weights give features of another size: the weight sought is the one under which that ratio is the same, on the
same pictures and with the same discriminator, untrained. Where the adversarial loss is the paper's too, D cancels out:
whatever it is, the content gradient must be the paper's.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from srgan_jax import losses
from srgan_jax.data.feed import make_feed
from srgan_jax.data.prepare import compress, prepare
from srgan_jax.data.sources import make_source
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_discriminator, build_features, build_generator
from srgan_jax.models.vgg import VGG
from srgan_jax.ops.bicubic import upscale
from srgan_jax.training.state import TrainState, create_state
from srgan_jax.training.steps import both_forward, forward
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.vgg_file import feature_params, load_vgg

ADVERSARIAL = 1e-3  # the paper's weight of it, eq. 3; the content term has weight 1
SCALE = 1 / 12.75  # the paper's, on Caffe's features


class Setting(NamedTuple):
    """One way to weigh content against D: gradient norms of the weighted terms at the generator's output."""

    name: str
    features: str
    weight: float
    content: float
    adversarial: float

    @property
    def ratio(self) -> float:
        return self.content / self.adversarial


def calibrate(config: ConfigDict, reference: Path, *, batches: int = 4) -> list[Setting]:
    """The paper's setting, the config's as it stands, and the config's with the weight that gives the paper's ratio.

    reference: VGG19 weights of Caffe origin, which reach the paper's layer: 2.2 for a config whose layer is in the
    first two blocks, 5.4 for others. SR comes from the generator of config.init_from, or else from bicubic upscaling.
    A config without a discriminator is measured with the paper's D and weight of it.

    Raises:
      UserError: a file or a folder that the config or `reference` names is not there or not what it should be.
    """
    feature = config.loss.feature
    if not feature.weight:
        raise UserError("config.loss.feature.weight=0: there is no content loss to calibrate")
    own = build_features(config)["feature"]
    assert isinstance(own, VGG)
    own_params = feature_params(config)
    paper = VGG(network="vgg19", layer="2.2" if feature.layer < "3" else "5.4", origin="caffe")
    paper_params = load_vgg(reference, network="vgg19", layer=paper.layer, origin="caffe", field="--reference")

    config = config.copy_and_resolve_references()
    if config.discriminator.name == "none":
        config.discriminator.name, config.loss.adversarial.weight = "srgan", ADVERSARIAL
    d = create_state(config, build_generator(config), build_discriminator(config)).d
    assert d is not None
    generator = load_generator(config.init_from, field="config.init_from") if config.init_from else None
    if generator and generator.config.scale != config.scale:
        raise UserError(f"config.init_from={config.init_from}: is for x{generator.config.scale}, not x{config.scale}")
    variables = generator.variables if generator else {}
    feed = make_feed(config, make_source(config.data))

    @jax.jit
    def norms(fed: Any, step: int, d: TrainState, paper_params: Any, own_params: Any, variables: Any) -> jax.Array:
        lr, hr = prepare(feed.crops(fed, 0, jnp.asarray(step))[0], scale=config.scale, data=config.data)
        if config.data.jpeg:
            lr = compress(lr, config.data.jpeg, jnp.arange(len(lr)), jax.random.key(step))
        enlarged = 2 * upscale(lr, config.scale) - 1
        sr = generator.network.apply(variables, lr, train=False) if generator else enlarged
        condition = enlarged if config.discriminator.conditional else enlarged[..., :0]

        def content(vgg: VGG, params: Any, **settings: Any) -> Any:
            def loss(sr: jax.Array) -> jax.Array:
                phi_sr, phi_hr = (vgg.apply({"params": params}, x) for x in (sr, hr))
                assert isinstance(phi_sr, jax.Array) and isinstance(phi_hr, jax.Array)
                return losses.feature_loss(phi_sr, phi_hr, **settings)

            return loss

        def adversarial(kind: str) -> Any:
            def loss(sr: jax.Array) -> jax.Array:
                fake, real = (jnp.concatenate([condition, x], -1) for x in (sr, hr))
                if config.discriminator.one_pass and config.discriminator.norm == "batch":
                    real, fake, _ = both_forward(d, d.params, real, fake, None)
                else:
                    fake, real = (forward(d, d.params, x)[0] for x in (fake, real))
                return losses.generator_adversarial(kind, fake, real)

            return loss

        terms = (
            content(paper, paper_params, scale=SCALE),
            content(own, own_params, **{name: feature[name] for name in ("scale", "channels", "kind")}),
            adversarial("nonsaturating"),
            adversarial(config.loss.adversarial.kind),
        )
        return jnp.stack([optax.tree.norm(jax.grad(term)(sr)) for term in terms])

    fed, measured = feed.start(0), []
    for step in range(batches):
        measured.append(norms(next(fed), step, d, paper_params, own_params, variables))
    paper_norm, own_norm, paper_d_norm, own_d_norm = np.mean(measured, axis=0).tolist()

    theirs = Setting("paper", f"vgg19 {paper.layer} caffe", 1.0, paper_norm, ADVERSARIAL * paper_d_norm)
    adversarial_norm = config.loss.adversarial.weight * own_d_norm
    weight = theirs.ratio * adversarial_norm / own_norm
    features = f"{feature.network} {feature.layer} {feature.origin}"
    return [
        theirs,
        Setting("config", features, feature.weight, feature.weight * own_norm, adversarial_norm),
        Setting("proposed", features, weight, weight * own_norm, adversarial_norm),
    ]
