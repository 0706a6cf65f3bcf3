"""VGG weights from files: the ones that load, and one line of advice for those that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from srgan_jax.errors import UserError
from srgan_jax.models.vgg import VGG
from srgan_jax.weights.vgg_file import digest, load_vgg, random_vgg


def flat(params):
    return {f"{conv}/{kind}": array for conv, layer in params.items() for kind, array in layer.items()}


@pytest.fixture
def arrays():
    return flat(random_vgg("vgg19", "2.2", seed=0))


def write(folder, arrays, suffix=".npz", metadata=None):
    path = folder / f"vgg{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path, metadata=metadata)
    return path


def load(path, network="vgg19", layer="2.2", origin="caffe"):
    return load_vgg(path, network=network, layer=layer, origin=origin)


def refusal(path, **fields):
    """The message with which the file is refused, checked to be one line that names the field."""
    with pytest.raises(UserError) as caught:
        load(path, **fields)
    message = str(caught.value)
    assert message.startswith("config.loss.feature.weights") and "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_files_load_as_float32_up_to_the_layer(tmp_path, arrays, suffix, dtype):
    stored = {name: array.astype(dtype) for name, array in arrays.items()}
    params = load(write(tmp_path, stored, suffix), layer="2.1")
    assert list(params) == ["block1_conv1", "block1_conv2", "block2_conv1"]
    for name, array in flat(params).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, stored[name])


def test_parameters_have_the_structure_of_the_network():
    expected = jax.eval_shape(lambda: VGG(layer="3.1").init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
    params = random_vgg("vgg19", "3.1", seed=0)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected["params"])


def test_metadata_must_agree(tmp_path, arrays):
    metadata = {"network": "vgg19", "origin": "torchvision"}
    path = write(tmp_path, arrays, ".safetensors", metadata)
    assert load(path, origin="torchvision")
    assert "states origin 'torchvision': set config.loss.feature.origin" in refusal(path)
    assert "states network 'vgg19'" in refusal(path, network="vgg16", origin="torchvision")


@pytest.mark.parametrize(
    ("origin", "layer", "advice"),
    [("torchvision", "1.2", "give VGG19 of Caffe origin"), ("caffe", "5.4", "give it up to 5.4")],
)
def test_only_the_configs_own_field_is_mended_by_the_config(tmp_path, arrays, origin, layer, advice):
    path = write(tmp_path, arrays, ".safetensors", {"network": "vgg19", "origin": origin})
    with pytest.raises(UserError, match=f"^--reference: .*{advice}") as caught:
        load_vgg(path, network="vgg19", layer=layer, origin="caffe", field="--reference")
    assert "config." not in str(caught.value)


def test_vgg19_is_not_taken_for_vgg16(tmp_path):
    path = write(tmp_path, flat(random_vgg("vgg19", "3.4", seed=0)))
    assert "holds vgg19: set config.loss.feature.network" in refusal(path, network="vgg16")


def test_missing_files_are_named(tmp_path, arrays):
    assert "is empty" in refusal("")
    assert f"no file {tmp_path / 'none.npz'}" in refusal(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "is no regular file" in refusal(tmp_path / "folder.npz")
    assert "neither .npz nor .safetensors" in refusal(tmp_path / "vgg.h5")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "header"])
def test_damaged_files_are_refused(tmp_path, arrays, suffix, damage):
    path = write(tmp_path, arrays, suffix)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"<!DOCTYPE html>" * 100,
            "truncated": whole[: len(whole) // 2],
            "header": b"\xff" * 64 + whole[64:],
        }[damage]
    )
    message = refusal(path)
    assert str(path) in message and "fetch it again" in message


def test_flipped_bytes_in_an_npz_are_refused(tmp_path, arrays):
    path = write(tmp_path, arrays)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    path.write_bytes(content)
    assert "Bad CRC-32" in refusal(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_partial_file_names_its_last_layer(tmp_path, arrays, suffix):
    message = refusal(write(tmp_path, arrays, suffix), layer="5.4")
    assert "holds vgg19 only up to layer 2.2: set config.loss.feature.layer to 2.2 or lower, not 5.4" in message
    del arrays["block1_conv2/bias"]
    assert "only up to layer 1.1" in refusal(write(tmp_path, arrays, suffix))
    foreign = {"features.0.weight": arrays["block1_conv1/kernel"]}
    assert "Keras' names" in refusal(write(tmp_path, foreign, suffix))


def test_wrong_arrays_are_refused(tmp_path, arrays):
    name = "block2_conv1/kernel"
    torch_order = np.ascontiguousarray(arrays[name].transpose(3, 2, 0, 1))
    message = refusal(write(tmp_path, arrays | {name: torch_order}))
    assert f": {name} is " in message and "float32[128, 64, 3, 3]" in message and "HWIO" in message
    assert "int8" in refusal(write(tmp_path, arrays | {name: arrays[name].astype(np.int8)}))
    assert "NaN" in refusal(write(tmp_path, arrays | {name: arrays[name] * np.nan}))


def test_unknown_layer_is_a_programming_error(tmp_path, arrays):
    with pytest.raises(ValueError, match="layer is '9.9'"):
        load(write(tmp_path, arrays), layer="9.9")


def test_random_weights_keep_the_features_size():
    params = random_vgg("vgg16", "4.3", seed=3)
    image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3), minval=-1.0)
    phi = VGG(network="vgg16", layer="4.3", origin="torchvision").apply({"params": params}, image)
    assert 0.1 < np.std(phi) < 10


def test_digest_depends_on_values_and_not_on_order():
    params = random_vgg("vgg19", "1.2", seed=0)
    assert digest(params) == digest(dict(reversed(params.items())))
    assert digest(params) == digest(random_vgg("vgg19", "1.2", seed=0))
    assert digest(params) != digest(random_vgg("vgg19", "1.2", seed=1))
    assert len(digest(params)) == 64


def test_real_partial_vgg19(real_vgg19):
    params = load(real_vgg19)
    # A flat grey picture has no edges, so trained features respond to a contour far more than to it.
    grey = jnp.zeros((1, 32, 32, 3))
    contour = grey.at[:, :, 16:].set(1)
    phi = VGG(layer="2.2").apply({"params": params}, jnp.concatenate([grey, contour]))
    inner = np.asarray(phi)[:, 4:-4]
    assert inner[1, :, 7:9].max() > 2 * inner[0, :, 7:9].max()
    assert "up to layer 3.4" in refusal(real_vgg19, layer="5.4")
