"""U-Net, ResNet and PatchGAN: the paper's sizes, what they depend on, a gradient everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import applied, initialised

from srgan_jax.models.build import generator_shapes
from srgan_jax.models.patchgan import PATCHES, PatchGAN
from srgan_jax.models.pix2pix import ResNet, UNet

KEY = jax.random.key(0)


def count(shapes):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def small(name, **fields):
    return {"unet": UNet(features=4, levels=4, **fields), "resnet": ResNet(features=4, blocks=2, **fields)}[name]


def picture(side=16, batch=2):
    return jax.random.uniform(KEY, (batch, side, side, 3))


def test_parameter_counts():
    """Those of 256x256 and 70x70 are stated by others, the rest is added up by hand."""
    assert count(generator_shapes(UNet())) == 54_419_459
    down, up, norms = 512 * 512 * 16 + 512, 1024 * 512 * 16 + 512, 2 * 1024
    assert count(generator_shapes(UNet(levels=7))) == 54_419_459 - down - up - norms
    images = jnp.zeros((1, 96, 96, 6))
    patches = {p: count(jax.eval_shape(lambda p=p: PatchGAN(patch=p).init(KEY, images, False))) for p in PATCHES}
    assert patches[70] == 2_769_601
    assert patches[1] == (6 * 64 + 64) + (64 * 128 + 128 + 2 * 128) + (128 + 1)
    assert patches[286] - patches[142] == 512 * 512 * 16 + 512 + 2 * 512


@pytest.mark.parametrize("patch", [patch for patch in PATCHES if patch > 1])
def test_a_logit_judges_a_patch_of_this_side(patch):
    side = patch + 64
    network = PatchGAN(features=2, patch=patch, norm="none")
    images = jax.random.normal(KEY, (1, side, side, 3))

    @jax.jit
    def seen(images):
        variables = network.init(KEY, images, False)

        def logit(images):
            logits = network.apply(variables, images, False)[0]
            return logits[len(logits) // 2, len(logits) // 2]

        return jax.grad(logit)(images)

    rows = np.flatnonzero(np.abs(np.asarray(seen(images))).sum(axis=(0, 2, 3)))
    assert rows[-1] - rows[0] + 1 == patch


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_every_parameter_has_a_gradient(name, norm):
    network, x = small(name, norm=norm, dropout=0.5), picture(32)
    variables = initialised(network, x)

    @jax.jit
    def gradients(params):
        def loss(params):
            rest = {name: tree for name, tree in variables.items() if name != "params"}
            out, _ = network.apply(
                {"params": params} | rest, x, True, jnp.arange(2, dtype=jnp.uint32), mutable=["batch_stats"]
            )
            return jnp.sum(out * x)

        return jax.grad(loss)(params)

    flat = jax.tree_util.tree_leaves_with_path(gradients(variables["params"]))
    still = {jax.tree_util.keystr(path) for path, leaf in flat if not np.any(leaf)}
    # a normalisation takes away the bias before it, which is not trained on rounding's remains then
    norms = initialised(small(name, norm="batch", dropout=0.5), x)["batch_stats"] if norm != "none" else ()
    assert still == {f"['{norm.replace('norm', 'conv')}']['bias']" for norm in norms}


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_dropout_depends_on_each_images_seed_alone(name):
    network, x = small(name, norm="instance", dropout=0.5), picture()
    variables = initialised(network, x)
    apply = jax.jit(lambda x, seeds: network.apply(variables, x, False, seeds))
    seeds = jnp.array([5, 9], jnp.uint32)
    together = apply(x, seeds)
    np.testing.assert_allclose(apply(x[1:], seeds[1:])[0], together[1], atol=1e-5)
    assert jnp.abs(apply(x[1:], seeds[:1])[0] - together[1]).max() > 1e-3
    plain = applied(network, variables, x)
    np.testing.assert_array_equal(plain, applied(network, variables, x))
    assert jnp.abs(plain - together).max() > 1e-3


def test_inference_norm_batch_takes_statistics_of_what_is_given_at_once():
    own, running = (small("unet", inference_norm=norm) for norm in ("batch", "running"))
    x = picture(32)
    variables = initialised(own, x)
    trained, _ = jax.jit(lambda v, x: own.apply(v, x, True, mutable=["batch_stats"]))(variables, x)
    np.testing.assert_allclose(applied(own, variables, x), trained, atol=1e-6)
    assert jnp.abs(applied(running, variables, x) - trained).max() > 1e-3


@pytest.mark.parametrize("fields", [{"norm": "layer"}, {"inference_norm": "none"}, {"scale": 2}])
def test_other_values_are_refused(fields):
    with pytest.raises(ValueError, match="choose one of"):
        small("unet", **fields)
