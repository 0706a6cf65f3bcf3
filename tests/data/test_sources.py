"""Where photographs come from: what is found, what is skipped and said about it, and what stands in."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import base
from srgan_jax.data import store
from srgan_jax.data.images import image_size, list_images, read_image
from srgan_jax.data.sources import SAMPLES, folder_source, make_source
from srgan_jax.errors import UserError
from srgan_jax.training.validate import Validation


def folder(path, crop=16, **options):
    return folder_source(path, crop, "config.data.path", **options)


def data_config(**fields):
    data = base.get_config().data
    data.update(fields)
    return data


def test_finds_photographs_in_every_folder_below(photographs):
    (photographs / "sub" / "deep").mkdir(parents=True)
    shutil.move(photographs / "c.png", photographs / "sub" / "deep" / "c.png")
    (photographs / "notes.txt").write_text("no photograph")
    source = folder(photographs)
    assert source.names == ["a.png", "b.png", "d.png", "e.png", "sub/deep/c.png"]
    for index, name in enumerate(source.names):
        np.testing.assert_array_equal(source.photograph(index), read_image(photographs / name))


def test_skips_what_is_too_small_or_broken_and_names_it(photographs, caplog):
    (photographs / "empty.png").write_bytes(b"")
    source = folder(photographs, crop=32)
    assert source.names == ["c.png", "d.png"]
    messages = {record.getMessage() for record in caplog.records}
    assert messages == {
        f"skipped {photographs}/a.png: too small: 30x20, the crop needs 32x32",
        f"skipped {photographs}/b.png: too small: 24x40, the crop needs 32x32",
        f"skipped {photographs}/e.png: too small: 50x25, the crop needs 32x32",
        f"skipped {photographs}/empty.png: not an image that can be read",
    }


def test_validation_by_what_is_trained_on_is_warned_of(photographs, tmp_path, caplog):
    """Whatever the files are called there."""
    held_out = tmp_path / "held_out"
    shutil.copytree(
        photographs, held_out, copy_function=lambda a, b: shutil.copy(a, Path(b).with_stem("of_" + Path(b).stem))
    )
    config = base.get_config()
    config.validation.path = str(held_out)
    said = "warning: config.validation.path: 2 of its photographs are trained on, too, and tell little"
    first = Validation(config, folder(photographs, crop=32))
    assert said in caplog.text
    caplog.clear()
    for name in "cd":
        (photographs / f"{name}.png").unlink()
    assert Validation(config, folder(photographs)).of == first.of
    assert "trained on" not in caplog.text
    config.validation.images = 1
    assert Validation(config).of != first.of  # which marks figures of other pictures


@pytest.mark.parametrize("threads", [1, 4])
def test_the_cache_keeps_to_its_size(photographs, threads):
    source = folder(photographs)
    reads = []
    read = source.read

    def counted(index):
        reads.append(index)
        return read(index)

    source.read = counted
    source.cache_bytes = 20 * 30 * 3 + 40 * 24 * 3  # room for a and b
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            list(pool.map(source.photograph, range(5)))
    kept = sum(source.read(index).nbytes for index in source._cache)
    assert kept + source.cache_bytes == 20 * 30 * 3 + 40 * 24 * 3 and source.cache_bytes >= 0
    if threads == 1:
        assert [reads[:-2].count(index) for index in range(5)] == [1, 1, 3, 3, 3]


@pytest.mark.parametrize(
    ("path", "said"), [("", " is empty: no such folder; give one"), ("no", "=.*/no: no such folder")]
)
def test_a_missing_folder_is_an_error(tmp_path, path, said):
    with pytest.raises(UserError, match=f"^config.data.path{said}$"):
        make_source(data_config(source="folder", path=path and str(tmp_path / path)))


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=f"^config.data.path={tmp_path}: the folder holds no image"):
        make_source(data_config(source="folder", path=str(tmp_path)))


def test_a_crop_larger_than_every_image_is_an_error(photographs):
    with pytest.raises(UserError, match=r"^config.data.crop=96: larger than every image .*largest short side: 48"):
        make_source(data_config(source="folder", path=str(photographs)))


def test_the_fingerprint_follows_the_set_and_not_the_place(photographs, tmp_path):
    mark = folder(photographs).fingerprint
    moved = shutil.copytree(photographs, tmp_path / "elsewhere")
    assert folder(moved).fingerprint == mark
    (moved / "a.png").rename(moved / "z.png")
    renamed = folder(moved).fingerprint
    (moved / "z.png").unlink()
    fewer = folder(moved).fingerprint
    shutil.copy(photographs / "a.png", moved / "b.png")
    replaced = folder(moved).fingerprint
    assert len({mark, renamed, fewer, replaced, folder(photographs, crop=32).fingerprint}) == 5


def test_a_photograph_replaced_by_one_of_the_same_size_is_noticed(tmp_path):
    def saved(level):
        Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(tmp_path / "a.bmp")
        return folder(tmp_path)

    first, other = saved(0), saved(1)
    assert first.fingerprint != other.fingerprint and first.marks != other.marks
    with pytest.raises(UserError, match="changed, or went"):
        first.photograph(0)


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("validation", 3)])
def test_the_bundled_photographs(split, count):
    source = make_source(data_config(split=split))
    assert len(source) == count == len(list_images(SAMPLES / split))
    for name in source.names:
        height, width = image_size(SAMPLES / split / name)
        assert height % 8 == width % 8 == 0
    assert source.photograph(0).shape == (*image_size(SAMPLES / split / source.names[0]), 3)


def test_every_bundled_photograph_is_attributed_and_all_are_small():
    photographs = list_images(SAMPLES)
    rows = [line for line in (SAMPLES / "ATTRIBUTION.md").read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [f"| {p.relative_to(SAMPLES).as_posix()}" for p in photographs]
    assert all(len(row.split(" | ")) == 4 and "" not in row.split(" | ") for row in rows)
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 4e6


def test_an_unknown_bundled_split_is_an_error():
    with pytest.raises(UserError, match="^config.data.split=.*no such folder"):
        make_source(data_config(split="test"))


def encoded(pixels):
    Image.fromarray(pixels).save(buffer := BytesIO(), format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(folder, photographs) of a tfds data set as array_record, made from encoded PNGs."""
    rng = np.random.default_rng(0)
    photographs = [rng.integers(0, 256, (20 + i, 24, 3), np.uint8) for i in range(4)]
    photographs.append(rng.integers(0, 256, (10, 24, 3), np.uint8))  # too small for a crop of 16
    return prepare_tfds(tmp_path_factory.mktemp("tfds"), photographs), photographs


def prepare_tfds(place, photographs):
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():  # read back from the files alone, as a stranger's set would be

        class TinyPhotos(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                image, grey = (tfds.features.Image(shape=(None, None, channels)) for channels in (3, 1))
                depth = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16)
                features = {"hr": image, "mirrored": image, "grey": grey, "depth": depth, "label": np.int64}
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples(), "damaged": self._generate_examples(cut_short=1)}

            def _generate_examples(self, cut_short=None):
                for i, pixels in enumerate(photographs):
                    views = {"hr": pixels, "mirrored": pixels[:, ::-1], "grey": pixels[..., 0]}
                    views["depth"] = pixels[..., 0].astype(np.uint16) * 257
                    end = 200 if i == cut_short else None
                    yield i, {name: encoded(view)[:end] for name, view in views.items()} | {"label": i}

    TinyPhotos(data_dir=str(place), file_format="array_record").download_and_prepare()
    return place


def tfds_source(prepared, **fields):
    fields = {"name": "tiny_photos", "path": str(prepared[0]), "crop": 16} | fields
    return make_source(data_config(source="tfds", **fields))


def in_order(source, photographs, change=lambda x: x):
    """The numbers of the photographs in the order in which the source, which shuffles, has them."""
    known = {change(pixels).tobytes(): number for number, pixels in enumerate(photographs)}
    return [known[source.read(index).tobytes()] for index in range(len(source))]


def test_tfds_without_tensorflow(prepared, caplog):
    source = tfds_source(prepared)
    order = in_order(source, prepared[1])
    assert sorted(order) == [0, 1, 2, 3, 4]
    small = order.index(4)
    assert source.photograph(small).tobytes() in {prepared[1][number].tobytes() for number in range(4)}
    assert f"skipped tiny_photos[{small}]: too small: 24x10" in caplog.text
    assert "tensorflow" not in sys.modules


def test_tfds_replaces_what_cannot_be_decoded(prepared, caplog):
    source = tfds_source(prepared, split="damaged")
    read = {source.photograph(index).tobytes() for index in range(5)}
    assert read == {prepared[1][number].tobytes() for number in (0, 2, 3)}
    assert len(caplog.records) == 2  # the damaged one and the small one


def test_tfds_from_a_store(prepared, tmp_path):
    source = tfds_source(prepared, split="damaged")
    for _ in range(2):
        mapped = store.mapped(source, tmp_path / "store", store.prepare(source, tmp_path / "store", "field"))
        assert len(mapped) == len(source) and mapped.fingerprint == source.fingerprint
        for index in range(len(source)):
            np.testing.assert_array_equal(mapped.photograph(index), source.photograph(index))


def test_tfds_features_and_splits(prepared):
    mirrored = tfds_source(prepared, feature="mirrored")
    assert sorted(in_order(mirrored, prepared[1], lambda x: x[:, ::-1])) == [0, 1, 2, 3, 4]
    grey = tfds_source(prepared, feature="grey")
    assert sorted(in_order(grey, prepared[1], lambda x: x[..., :1].repeat(3, axis=-1))) == [0, 1, 2, 3, 4]
    first = tfds_source(prepared, split="train[:3]")
    assert len(first) == 3
    marks = {source.fingerprint for source in (tfds_source(prepared), mirrored, grey, first)}
    assert len(marks) == 4 and tfds_source(prepared).fingerprint in marks


def test_tfds_is_known_by_its_files_and_not_by_their_place(prepared, tmp_path):
    moved = shutil.copytree(prepared[0], tmp_path / "moved")
    other = prepare_tfds(tmp_path / "other", [255 - pixels for pixels in prepared[1]])
    fields = {"train": {}, "part": {"split": "train[:50%]"}, "sum": {"split": "train[:2]+train[3:]"}}
    fields["splits"] = {"split": "train+damaged"}
    marks = {name: tfds_source(prepared, **each).fingerprint for name, each in fields.items()}
    assert len(set(marks.values())) == 4
    for name, each in fields.items():
        assert tfds_source((moved,), **each).fingerprint == marks[name]
        assert tfds_source((other,), **each).fingerprint != marks[name]


def test_tfds_prepared_anew_is_not_read_from_the_old_store(prepared, tmp_path):
    place = tmp_path / "tfds"
    for photographs in (prepared[1], [255 - pixels for pixels in prepared[1]]):
        shutil.rmtree(place, ignore_errors=True)
        source = tfds_source((prepare_tfds(place, photographs),))
        mapped = store.mapped(source, tmp_path / "store", store.prepare(source, tmp_path / "store", "field"))
        read = {mapped.photograph(index).tobytes() for index in range(5)}
        assert read == {pixels.tobytes() for pixels in photographs[:4]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "no_such_set"}, "config.data.name='no_such_set': not found"),
        ({"name": ""}, "config.data.name=''"),
        ({"name": "tiny_photos/no_such_config"}, "config.data.name='tiny_photos/no_such_config'"),
        ({"split": "test"}, "test"),
        ({"split": "train[:0]"}, "without config.data.split='train.:0.'"),
        ({"feature": "label"}, "config.data.feature='label': must be one of depth, grey, hr, mirrored"),
        ({"feature": "depth"}, "'tiny_photos': its feature depth is of uint16; pictures must be uint8"),
    ],
)
def test_tfds_refuses(prepared, fields, reason):
    with pytest.raises(UserError, match=reason) as caught:
        tfds_source(prepared, **fields)
    assert "\n" not in str(caught.value)
