"""The two pipelines: batches are functions of (seed, number), and what they cut is what the photographs hold."""

import functools
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from running import command, run

from configs import base, tiny
from srgan_jax.data import device_pipeline, host_pipeline, prepare
from srgan_jax.data.feed import choose, make_feed
from srgan_jax.data.images import write_png
from srgan_jax.data.source import Source
from srgan_jax.ops.bicubic import imresize

SIZES = [(40, 64), (33, 47), (16, 16), (100, 20), (64, 64)]


def numbered(sizes=SIZES, min_side=16):
    """Photographs whose pixels tell where they are: red is the photograph, green the row, blue the column."""

    def read(index):
        height, width = sizes[index]
        rows, columns = np.mgrid[:height, :width]
        return np.stack([np.full_like(rows, index), rows, columns], axis=-1).astype(np.uint8)

    return Source([f"photograph {i}" for i in range(len(sizes))], read, "numbered", min_side)


def assert_windows(crops, sizes=SIZES):
    """Each crop is an unbroken window of one photograph. Returns which."""
    side = crops.shape[1]
    for crop in crops:
        index, top, left = (int(value) for value in crop[0, 0])
        rows, columns = np.mgrid[:side, :side]
        assert (crop[..., 0] == index).all()
        assert (crop[..., 1] == top + rows).all() and (crop[..., 2] == left + columns).all()
        assert top + side <= sizes[index][0] and left + side <= sizes[index][1]
    return [int(crop[0, 0, 0]) for crop in crops]


def test_host_batches_are_functions_of_seed_and_number():
    first, again, other = (host_pipeline.batches(numbered(), seed=seed, batch_size=3, crop=16) for seed in (0, 0, 1))
    for n in (0, 1, 7, 1000):
        assert first[n].dtype == np.uint8 and first[n].shape == (3, 16, 16, 3)
        np.testing.assert_array_equal(first[n], again[n])
        assert_windows(first[n])
    assert any((first[n] != other[n]).any() for n in range(3))


def test_host_visits_every_photograph_once_an_epoch_in_changing_order():
    dataset = host_pipeline.batches(numbered(), seed=0, batch_size=5, crop=16)
    orders = [assert_windows(dataset[epoch]) for epoch in range(6)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize(("group", "threads"), [(1, 4), (3, 2)])
def test_the_stream_goes_on_from_anywhere(group, threads):
    dataset = host_pipeline.batches(numbered(), seed=0, batch_size=2, crop=16)
    stream = host_pipeline.stream(dataset, start=4, group=group, threads=threads)
    for call in (4, 5, 6):
        expected = [dataset[n] for n in range(call * group, (call + 1) * group)]
        np.testing.assert_array_equal(next(stream), np.stack(expected))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 100, 1000])
def test_permute_is_a_bijection_that_keys_change(count):
    keys = jax.random.bits(jax.random.key(0), (2, device_pipeline.ROUNDS, 2))
    shuffled = [
        np.asarray(jax.jit(jax.vmap(lambda p, k=k: device_pipeline.permute(p, count, k)))(jnp.arange(count)))
        for k in keys
    ]
    for order in shuffled:
        assert sorted(order.tolist()) == list(range(count))
    if count >= 64:
        assert (shuffled[0] != shuffled[1]).mean() > 0.9 and (shuffled[0] != np.arange(count)).mean() > 0.9


def test_permute_sends_every_place_everywhere_alike():
    keys = jax.random.bits(jax.random.key(1), (4000, device_pipeline.ROUNDS, 2))
    places = jnp.arange(10)
    shuffle = jax.vmap(lambda k: jax.vmap(lambda p: device_pipeline.permute(p, 10, k))(places))
    shuffled = np.asarray(jax.jit(shuffle)(keys))
    counts = (shuffled[:, :, None] == np.arange(10)).sum(axis=0)
    assert abs(counts - 400).max() < 5 * np.sqrt(400)
    together = np.mean(shuffled[:, 1] == (shuffled[:, 0] + 1) % 10)  # neighbours stay neighbours no oftener than others
    assert abs(together - 1 / 9) < 0.03


@functools.cache
def cutter(seed, batch_size=6, places=None):
    places = jnp.arange(batch_size) if places is None else places
    return jax.jit(functools.partial(_cut, seed=seed, batch_size=batch_size, places=places))


def _cut(tiles, batch, **fixed):
    return device_pipeline.crops_at(tiles, batch=batch, crop=16, **fixed)


def crops(tiles, batch, seed=0):
    return np.asarray(cutter(seed)(tiles, jnp.int32(batch)))


def test_device_crops_are_windows_and_functions_of_seed_and_number():
    tiles = device_pipeline.make_tiles(numbered(), tile=32)
    tiles = device_pipeline.Tiles(*map(jnp.asarray, tiles))
    for batch in (0, 1, 100_000):
        assert_windows(crops(tiles, batch))
        np.testing.assert_array_equal(crops(tiles, batch), crops(tiles, batch))
    assert (crops(tiles, 3, seed=0) != crops(tiles, 3, seed=1)).any()


def test_device_tiles_cover_every_pixel():
    tiles = device_pipeline.make_tiles(numbered(), tile=32)
    seen = {
        tuple(pixel)
        for tile, (height, width) in zip(tiles.pixels, tiles.sizes, strict=True)
        for pixel in tile[:height, :width].reshape(-1, 3).tolist()
    }
    assert len(seen) == sum(height * width for height, width in SIZES)


def test_device_visits_every_tile_once_an_epoch():
    """Photographs as large as a tile, 5 of them in batches of 6, so that batches straddle epochs."""
    same = [(16, 16)] * 5
    tiles = device_pipeline.Tiles(*map(jnp.asarray, device_pipeline.make_tiles(numbered(same), tile=16)))
    order = [index for batch in range(10) for index in assert_windows(crops(tiles, batch), same)]
    epochs = [tuple(order[start : start + 5]) for start in range(0, 60, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 6


def test_crops_begin_wherever_they_can():
    source, sizes = numbered([(17, 17)]), [(17, 17)]
    tiles = device_pipeline.Tiles(*map(jnp.asarray, device_pipeline.make_tiles(source, tile=17)))
    host = host_pipeline.batches(source, seed=0, batch_size=24, crop=16)[0]
    for cut in (host, np.concatenate([crops(tiles, batch) for batch in range(4)])):
        assert_windows(cut, sizes)
        assert {tuple(corner) for corner in cut[:, 0, 0, 1:].tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("count", [1, 2])
def test_as_few_photographs_as_there_can_be(tmp_path, count):
    """Compiled as users do: XLA's other fusions fail to take a choice of one."""
    for i in range(count):
        write_png(tmp_path / "photos" / f"{i}.png", np.full((20, 20, 3), 100 * i, np.uint8))
    fields = ("data.source=folder", f"data.path={tmp_path}/photos", "data.store=none", "data.pipeline=device")
    fields += ("steps=2", "log.every=1", "validation.every=0")
    assert "done at step 2" in run(command("tiny", tmp_path / "run", *fields))


@pytest.mark.parametrize(
    ("need", "options", "expected"),
    [
        (5, {"free": None}, "host"),  # no accelerator
        (5, {"free": 4 * 5 * 32 * 32 * 3}, "device"),
        (5, {"free": 4 * 5 * 32 * 32 * 3 - 1}, "host"),
        (0, {"free": 10**9}, "host"),  # sizes not known
        (5, {"free": 10**9, "tile": 8}, "host"),
    ],
)
def test_auto_is_device_where_a_quarter_of_the_memory_will_do(need, options, expected):
    assert choose([(32, 32)] * need, **{"tile": 32, "crop": 16} | options) == expected


def test_the_memory_of_the_tiles_is_known_beforehand():
    assert device_pipeline.tiles_bytes(SIZES, 32) == device_pipeline.make_tiles(numbered(), tile=32).pixels.nbytes


@pytest.mark.parametrize("pipeline", ["host", "device"])
def test_the_feeds_keep_one_contract(pipeline):
    """Crops uint8[k, batch, crop, crop, 3], a function of the step, whatever the updates in one call."""
    seen = []
    for per_call in (1, 2):
        config = tiny.get_config()
        config.data.update(pipeline=pipeline, tile=32)
        config.discriminator.update(name="srgan", updates=2)
        config.steps_per_call = per_call
        feed = make_feed(config, numbered())
        stream = feed.start(4 // per_call)
        got = []
        for call in range(2 // per_call):
            fed = jax.tree.map(jnp.asarray, next(stream))
            cut = jax.jit(feed.crops, static_argnums=1)
            got += [cut(fed, i, jnp.int32(4 + call * per_call + i)) for i in range(per_call)]
        assert all(batch.shape == (2, 4, 16, 16, 3) and batch.dtype == jnp.uint8 for batch in got)
        seen.append(np.stack(got))
    np.testing.assert_array_equal(seen[0], seen[1])
    assert_windows(seen[0].reshape(-1, 16, 16, 3))


def test_the_host_keeps_no_copy_of_what_was_sent_to_the_device():
    config = tiny.get_config()
    config.data.update(pipeline="device", tile=32)
    feed = make_feed(config, numbered())
    stream = feed.start(0)
    tiles = next(stream)[0]
    first, kept = tiles.copy(), weakref.ref(tiles)
    del tiles, stream
    assert kept() is None
    np.testing.assert_array_equal(next(feed.start(0))[0], first)  # made anew, as after a rollback


def test_augment_turns_each_image_by_key_and_position_alone():
    images = jnp.arange(64 * 4 * 4 * 3, dtype=jnp.int32).reshape(64, 4, 4, 3) % 251
    images = jnp.broadcast_to(images[:1], images.shape).astype(jnp.uint8)
    position, key = jnp.arange(64), jax.random.key(0)
    turned = np.asarray(prepare.augment(images, position, key))
    image = np.asarray(images[0])
    variants = [np.rot90(flipped, turns) for flipped in (image, image[::-1]) for turns in range(4)]
    which = [[i for i, variant in enumerate(variants) if np.array_equal(variant, one)] for one in turned]
    assert all(len(found) == 1 for found in which) and {found[0] for found in which} == set(range(8))
    np.testing.assert_array_equal(prepare.augment(images[32:], position[32:], key), turned[32:])


@pytest.mark.parametrize("boundary", ["symmetric", "clamp"])
def test_prepare_makes_the_lr_that_a_file_would_hold(boundary):
    data = base.get_config().data
    data.boundary = boundary
    hr = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    lr, signed = jax.jit(lambda x: prepare.prepare(x, scale=4, data=data))(hr)
    for one, image in zip(lr, hr, strict=True):
        np.testing.assert_allclose(one * 255, imresize(image, scale=0.25, boundary=boundary), atol=1e-4)
    np.testing.assert_allclose(signed, hr / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("pipeline", ["host", "device"])
def test_a_source_without_marks_is_read_as_it_is(tmp_path, monkeypatch, pipeline):
    """As CONTRIBUTING.md has it of another kind of source."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = base.get_config()
    config.data.source, config.data.pipeline, config.data.crop, config.data.tile = "numbered", pipeline, 16, 32
    feed = make_feed(config, numbered())
    fed = jax.tree.map(jnp.asarray, next(feed.start(0)))
    assert_windows(np.asarray(feed.crops(fed, 0, jnp.int32(0)))[0])
    assert not list(tmp_path.iterdir())
