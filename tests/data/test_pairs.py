"""Pairs: beside each other, in two folders, in a data set; and what is made of one photograph for the other."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from running import logged, train
from test_sources import data_config, encoded, prepared, tfds_source  # noqa: F401

from configs import base, tiny_pix2pix
from srgan_jax.data import prepare, store
from srgan_jax.data.sources import make_source
from srgan_jax.errors import UserError
from srgan_jax.ops.bicubic import PADDING, imresize
from srgan_jax.training.steps import make_crops
from srgan_jax.training.validate import Validation


def pixels(seed, height=20, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def beside(tmp_path):
    for i in range(3):
        save(tmp_path / "ab" / f"{i}.png", np.hstack([pixels(i), pixels(10 + i)]))
    return tmp_path / "ab"


@pytest.fixture
def folders(tmp_path):
    for i in range(3):
        save(tmp_path / "in" / "x" / f"{i}.png", pixels(i))
        save(tmp_path / "out" / "x" / f"{i}.bmp", pixels(10 + i))
    return tmp_path / "in", tmp_path / "out"


def pair_source(path, **fields):
    return make_source(data_config(source="folder", input="pair", path=str(path), crop=16, **fields))


@pytest.mark.parametrize(("direction", "order"), [("AtoB", (0, 10)), ("BtoA", (10, 0))])
def test_two_halves_of_one_picture(beside, direction, order):
    source = pair_source(beside, direction=direction)
    assert source.channels == 6 and source.sizes == [(20, 24)] * 3
    for i in range(3):
        expected = np.concatenate([pixels(order[0] + i), pixels(order[1] + i)], axis=-1)
        np.testing.assert_array_equal(source.photograph(i), expected)
    assert source.fingerprint != make_source(data_config(source="folder", path=str(beside), crop=16)).fingerprint


def test_a_picture_that_cannot_be_halved_is_skipped_and_named(beside, caplog):
    save(beside / "1.png", pixels(5, 20, 47))
    source = pair_source(beside)
    assert source.photograph(1).tobytes() in {source.photograph(index).tobytes() for index in (0, 2)}
    assert "skipped 1.png: 47 pixels wide: not two pictures side by side" in caplog.text


def test_two_folders(folders, caplog):
    source = pair_source(folders[0], target=str(folders[1]))
    assert source.names == ["x/0.png", "x/1.png", "x/2.png"]
    np.testing.assert_array_equal(source.photograph(1), np.concatenate([pixels(1), pixels(11)], axis=-1))
    before = source.fingerprint
    save(folders[1] / "x" / "1.bmp", pixels(11, 30, 24))
    source = pair_source(folders[0], target=str(folders[1]))
    assert source.photograph(1).tobytes() in {source.photograph(index).tobytes() for index in (0, 2)}
    assert source.fingerprint != before and "skipped x/1.png: the two pictures are 24x20 and 24x30" in caplog.text


def test_a_picture_without_its_other_is_refused(folders):
    (folders[1] / "x" / "2.bmp").unlink()
    with pytest.raises(UserError, match="config.data.target: x/2 is in one of the two folders alone"):
        pair_source(folders[0], target=str(folders[1]))
    save(folders[0] / "x" / "0.bmp", pixels(0))
    with pytest.raises(UserError, match="config.data.target: two pictures are named x/0"):
        pair_source(folders[0], target=str(folders[1]))


def test_validation_takes_pairs_of_two_folders(tmp_path):
    save(tmp_path / "in" / "a.png", pixels(1, 32, 40))
    save(tmp_path / "out" / "a.png", pixels(2, 32, 40))
    config = tiny_pix2pix.get_config()
    config.data.input = "pair"
    config.validation.update(path=str(tmp_path / "in"), target=str(tmp_path / "out"), crop=0)
    validation = Validation(config)
    np.testing.assert_array_equal(validation.lr, [pixels(1, 32, 40)])
    np.testing.assert_array_equal(validation.hr, [pixels(2, 32, 40)])


def test_two_features_of_a_data_set(prepared):  # noqa: F811
    source = tfds_source(prepared, input="pair", feature="grey", target="hr")
    assert source.channels == 6
    for i in range(3):
        pair = source.photograph(i)
        np.testing.assert_array_equal(pair[..., 0], pair[..., 3])  # the data set's grey is red
    for target in ("", "grey", "label"):
        with pytest.raises(UserError, match=f"config.data.target='{target}': must be two of depth, grey, hr, mirrored"):
            tfds_source(prepared, input="pair", feature="grey", target=target)
    with pytest.raises(UserError, match="config.data.target='damaged': its pictures and those of train do not belong"):
        tfds_source(prepared, input="pair", feature="hr", target="damaged")


def test_two_splits_of_a_data_set_that_was_not_shuffled(tmp_path):
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class Sides(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(None, None, 3))})
                return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

            def _split_generators(self, dl_manager):
                return {"trainA": self._generate_examples(0, 3), "trainB": self._generate_examples(10, 3)} | {
                    "short": self._generate_examples(0, 2)
                }

            def _generate_examples(self, first, count):
                for i in range(count):
                    yield i, {"image": encoded(pixels(first + i))}

    Sides(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    fields = {"source": "tfds", "name": "sides", "path": str(tmp_path), "crop": 16, "input": "pair"}
    source = make_source(data_config(**fields, split="trainA", target="trainB"))
    for i in range(3):
        np.testing.assert_array_equal(source.photograph(i), np.concatenate([pixels(i), pixels(10 + i)], axis=-1))
    with pytest.raises(UserError, match="config.data.target='short': its pictures and those of trainA do not belong"):
        make_source(data_config(**fields, split="trainA", target="short"))


def test_pairs_in_a_store(folders, tmp_path):
    source = pair_source(folders[0], target=str(folders[1]), resize=18)
    for _ in range(2):
        mapped = store.mapped(source, tmp_path / "store", store.prepare(source, tmp_path / "store", "field"))
        assert mapped.channels == 6 and mapped.sizes == [(18, 18)] * 3
        for i in range(3):
            np.testing.assert_array_equal(mapped.photograph(i), source.photograph(i))


def test_resized_is_pillows_bicubic_of_each(folders):
    large = pixels(12, 40, 30)  # squares need not have been of one size
    save(folders[1] / "x" / "2.bmp", large)
    pair = pair_source(folders[0], target=str(folders[1]), resize=16).photograph(2)
    for part, picture in ((pair[..., :3], pixels(2)), (pair[..., 3:], large)):
        expected = Image.fromarray(picture).resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(part, np.asarray(expected))


def inputs(kind, image, **fields):
    data = base.get_config().data
    data.update(input=kind, **fields)
    lr, hr = prepare.split(image, scale=1, data=data)
    inside, _ = jax.jit(lambda x: prepare.prepare(x, scale=1, data=data))(image[None, : hr.shape[0], : hr.shape[1]])
    np.testing.assert_allclose(np.asarray(inside[0]) * 255, lr, atol=1e-3)
    return lr, hr


def test_what_is_made_of_a_photograph():
    image = pixels(0, 18, 24)
    grey, hr = inputs("grey", image)
    np.testing.assert_array_equal(hr, image)
    assert np.abs(grey.astype(float) - np.asarray(Image.fromarray(image).convert("L"))[..., None]).max() <= 1
    for boundary in PADDING:
        small, hr = inputs("upscaled", image, shrink=4, boundary=boundary)
        np.testing.assert_array_equal(hr, image[:16])
        lr = imresize(image[:16], scale=0.25, boundary=boundary)
        np.testing.assert_array_equal(small, imresize(lr, scale=4, boundary=boundary))
    step = np.zeros((16, 24, 3), np.uint8)
    step[:, 12:] = 100  # Sobel's gradient is 4 times the step at both sides of it
    edges, _ = inputs("edges", step)
    assert set(np.unique(edges[:, [11, 12]])) == {255 - 200} and (np.delete(edges, [11, 12], axis=1) == 255).all()
    pair = np.concatenate([image, 255 - image], axis=-1)
    first, second = inputs("pair", pair)
    np.testing.assert_array_equal(first, image)
    np.testing.assert_array_equal(second, 255 - image)


def test_jitter_enlarges_and_cuts_by_key_and_position_alone():
    ramp = jnp.tile(jnp.arange(32, dtype=jnp.float32) * 4, (32, 1))
    images = jnp.broadcast_to(jnp.stack([ramp, ramp.T], axis=-1), (8, 32, 32, 2)).astype(jnp.uint8)
    jittered = jax.jit(prepare.jitter, static_argnums=1)
    position, key = jnp.arange(8), jax.random.key(1)
    out = np.asarray(jittered(images, 40, position, key)).astype(float)
    slopes = np.diff(out[:, 16, 8:24, 0], axis=-1).mean(axis=-1)
    np.testing.assert_allclose(slopes, 4 * 32 / 40, atol=0.1)
    lefts, tops = (out[:, 16, 16, 0] - 64) / 3.2, (out[:, 16, 16, 1] - 64) / 3.2
    assert len(set(np.round(lefts))) > 2 and len(set(np.round(tops))) > 2 and np.abs(lefts - tops).max() > 1
    np.testing.assert_array_equal(jittered(images[4:], 40, position[4:], key), out[4:])
    np.testing.assert_array_equal(jittered(images, 32, position, key), images)  # nothing to cut away
    nearly = jittered(images, 33, position, key)[:, 16, 16]
    assert [len(np.unique(place)) for place in nearly.T] == [2, 2]  # both places of each axis


def test_without_turns_only_left_and_right_change():
    images = jnp.broadcast_to(jnp.arange(12, dtype=jnp.uint8).reshape(2, 2, 3), (64, 2, 2, 3))
    out = np.asarray(prepare.augment(images, jnp.arange(64), jax.random.key(0), turn=False))
    image = np.asarray(images[0])
    mirrored = [np.array_equal(one, image[:, ::-1]) for one in out]
    assert all(np.array_equal(one, image) or other for one, other in zip(out, mirrored, strict=True))
    assert 16 < sum(mirrored) < 48


def test_the_update_turns_where_the_config_says_so(monkeypatch):
    asked, config = [], base.get_config()
    monkeypatch.setattr(prepare, "augment", lambda hr, position, key, turn=True: asked.append(turn) or hr)
    batch = {"hr": jnp.zeros((1, 4, 16, 16, 3), jnp.uint8), "position": jnp.arange(4)}
    for config.data.turn in (True, False):
        jax.eval_shape(lambda batch: make_crops(config, batch, 0, jax.random.key(0)), batch)
    assert asked == [True, False]


@pytest.mark.parametrize("pipeline", ["host", "device"])
def test_training_and_measuring_on_pairs(beside, tmp_path, pipeline, capsys):
    """Both take them, by either pipeline; one half is the other's negative."""
    from srgan_jax.__main__ import main

    for i in range(3):
        image = pixels(i, 48, 48)
        save(beside / f"{i}.png", np.hstack([image, 255 - image]))
    fields = ["data.source=folder", f"data.path={beside}", "data.input=pair", f"data.pipeline={pipeline}"]
    fields += ["data.store=none", f"validation.path={beside}", "data.resize=40", "steps=4", "checkpoint.every=4"]
    train("tiny_pix2pix", tmp_path / "run", *fields, "validation.every=4", "optimizer.boundaries=(3,)")
    assert sorted(logged(tmp_path / "run", "validation/l1")) == [4]
    capsys.readouterr()
    arguments = [
        "evaluate",
        "--checkpoint",
        str(tmp_path / "run"),
        "--set",
        str(beside),
        "--json",
        f"{tmp_path}/f.json",
    ]
    assert main(arguments) == 0
    result = json.loads((tmp_path / "f.json").read_text())
    assert result["methods"][0]["name"] == "input" and result["data"]["ab"]["lr"] == "pair AtoB"
    expected = np.mean([np.abs(255 - 2.0 * pixels(i, 48, 48)).mean() / 255 for i in range(3)])
    assert result["methods"][0]["sets"]["ab"]["mean"]["l1"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["data.input=pair"], "config.data.input='pair': the bundled photographs are no pairs"),
        (["data.input=lr"], "config.data.input='lr': at config.scale=1 must be one of upscaled, grey, edges, pair"),
        (["scale=4"], "config.generator.name='unet': needs config.scale=1"),
        (["generator.name=srresnet"], "config.generator.name='srresnet': is for scales above 1"),
        (["data.crop=24"], "config.data.crop=24: must be a multiple of 16 for generator.name=unet"),
        (["data.jitter=12"], "config.data.jitter=12: must be 0, or at least config.data.crop=16"),
        (["data.input=upscaled", "data.shrink=3"], "config.data.crop=16: must be a multiple of config.data.shrink=3"),
        (["discriminator.patch=70"], "config.discriminator.patch=70: too large for config.data.crop=16"),
        (
            ["scale=4", "generator.name=srresnet", "data.input=lr", "generator.dropout=0.0"],
            "config.generator.inference_norm",
        ),
        (["data.target=there"], "config.data.target='there': is for config.data.input=pair"),
        (["data.direction=BtoA"], "config.data.direction='BtoA': is for pictures side by side"),
        (
            ["data.input=pair", "data.source=folder", "data.path=a", "data.target=b", "data.direction=BtoA"],
            "config.data.direction='BtoA': is for pictures side by side",
        ),
        (
            ["data.input=upscaled", "data.shrink=64", "data.crop=64", "data.jitter=0"],
            "config.validation.crop=48: must be",
        ),
        (["optimizer.boundaries=(2,5)"], "config.optimizer.boundaries=(2, 5): linear falls from one on"),
        (["optimizer.boundaries=(10,)"], "config.optimizer.boundaries=(10,): must be below config.steps=10"),
        (
            ["data.input=pair", "data.source=folder", "data.path=/tmp"],
            "config.data.path='/tmp'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(fields, message, tmp_path, capsys):
    from running import command

    from srgan_jax.__main__ import main

    if "data.path=/tmp" in fields:
        fields, message = [*fields[:2], f"data.path={tmp_path}/no"], f"config.data.path={tmp_path}/no: no such folder"
    assert main(command("tiny_pix2pix", tmp_path / "run", *fields)) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
