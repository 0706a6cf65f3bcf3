"""Pictures in tiles: the same as whole, by every factor and for every kind of picture."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import applied, initialised
from numpy.lib.stride_tricks import sliding_window_view

from srgan_jax.errors import UserError
from srgan_jax.inference import tiles
from srgan_jax.inference.enlarge import FARTHEST, Enlarger, make_enlarger, output_size
from srgan_jax.inference.tiles import SMALL
from srgan_jax.models.extent import apply_within, reach
from srgan_jax.models.layers import Conv
from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.models.rrdb import RRDBNet
from srgan_jax.models.srresnet import SRResNet
from srgan_jax.ops.bicubic import imresize

NETWORKS = {
    "paper": SRResNet(blocks=2, features=8),
    "bicubic skip, x3": SRResNet(blocks=1, features=8, norm="none", skip="bicubic", scale=3, last_kernel=3),
    "tanh, x2": SRResNet(blocks=1, features=8, norm="none", output="tanh", scale=2),
    "MSRResNet": MSRResNet(blocks=2, features=8),
    "RRDBNet, x3": RRDBNet(scale=3, blocks=1, features=8, growth=4),
}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """Far from the start, so that every layer counts."""
    network = NETWORKS[request.param]
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    rng = np.random.default_rng(0)
    return network, jax.tree.map(lambda x: x + rng.uniform(-0.05, 0.05, x.shape).astype(np.float32), variables)


def picture(height, width, channels=3, dtype=np.float32, seed=0):
    levels = np.random.default_rng(seed).uniform(size=(height, width, channels))
    return (levels * (np.iinfo(dtype).max if dtype != np.float32 else 1)).astype(dtype)


def enlarged(network, variables, image, scale=None, **settings):
    asked = []

    def rows(top, bottom):
        asked.append((top, bottom))
        return image[top:bottom]

    progress = []
    bands = make_enlarger(network, variables, **settings).bands(
        rows, image.shape[:2], scale, lambda *done: progress.append(done)
    )
    large = np.concatenate(list(bands))
    assert [bottom for _, bottom in asked[:-1]] == [top for top, _ in asked[1:]]  # each row once, in order
    assert asked[0][0] == 0 and asked[-1][1] == len(image)
    assert [done for done, _ in progress] == list(range(1, len(progress) + 1)) and progress[-1][0] == progress[-1][1]
    return large


def whole(network, variables, image):
    sr = applied(network, variables, jnp.asarray(image)[None])[0]
    return np.asarray(jnp.clip((sr + 1) / 2, 0, 1))


@pytest.mark.parametrize(("height", "width", "tile"), [(61, 47, 40), (40, 95, 41), (7, 70, 45), (64, 64, 64)])
def test_tiled_equals_whole(trained, height, width, tile):
    network, variables = trained
    image = picture(height, width)
    expected = whole(network, variables, image)
    for batch in (1, 2):
        tiled = enlarged(network, variables, image, tile=tile, batch=batch)
        assert tiled.shape == expected.shape and np.ptp(expected) > 0.2
        np.testing.assert_allclose(tiled, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (17, 3), (33, 129)])
def test_small_and_whole_pictures(trained, size):
    network, variables = trained
    image = picture(*size)
    for tile in (0, None):
        large = enlarged(network, variables, image, tile=tile)
        np.testing.assert_allclose(large, whole(network, variables, image), atol=1e-5)


def test_reach_is_what_the_network_sees(trained):
    """By the gradient of the centre's pixels, with kernels and slopes over zero, so that nothing cancels."""
    network, _ = trained
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    variables = jax.tree.map(lambda x: jnp.full_like(x, x.shape[-1] / x.size if x.ndim > 1 else 0.5), variables)
    side, far = 61, reach(network)
    centre = slice(side // 2 * network.scale, (side // 2 + 1) * network.scale)

    @jax.jit
    @jax.grad
    def influence(image):
        return network.apply(variables, image, train=False)[0, centre, centre].sum()

    seen = np.flatnonzero(np.asarray(influence(jnp.full((1, side, side, 3), 1e-3)))[0].sum(axis=(1, 2)))
    assert max(side // 2 - seen[0], seen[-1] - side // 2) == far


def test_what_lies_beyond_a_picture_does_not_count(trained):
    network, variables = trained
    image = picture(20, 14)
    padded = np.pad(image, [(0, 12), (0, 18), (0, 0)], mode="symmetric")
    sr = jax.jit(lambda x, sizes: apply_within(network, variables, x, sizes))(padded[None], jnp.array([[20, 14]]))
    np.testing.assert_allclose(
        np.clip((sr[0, : 20 * network.scale, : 14 * network.scale] + 1) / 2, 0, 1),
        whole(network, variables, image),
        atol=1e-5,
    )


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (2, np.uint16), (3, np.uint16), (4, np.uint8)])
def test_kinds_of_pictures(channels, dtype):
    network = NETWORKS["tanh, x2"]
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    image = picture(20, 30, channels, dtype)
    top = np.iinfo(dtype).max
    large = enlarged(network, variables, image, tile=0)
    assert large.shape == (40, 60, channels) and large.dtype == dtype
    unit = image / np.float32(top)
    colours = 3 if channels > 2 else 1
    alpha = unit[..., colours:] if channels % 2 == 0 else np.ones((20, 30, 1), np.float32)
    expected = whole(network, variables, np.broadcast_to(unit[..., :colours] * alpha, (20, 30, 3)))
    if colours == 1:
        expected = expected.mean(axis=-1, keepdims=True)
    if channels % 2 == 0:
        large_alpha = whole(network, variables, np.broadcast_to(alpha, (20, 30, 3))).mean(axis=-1, keepdims=True)
        shown = np.pad(
            np.where(alpha > 0, unit[..., :colours], np.nan), [(2, 2), (2, 2), (0, 0)], constant_values=np.nan
        )
        near = sliding_window_view(shown, (5, 5), (0, 1)).repeat(2, axis=0).repeat(2, axis=1)
        low, high = np.nanmin(near, axis=(-2, -1)), np.nanmax(near, axis=(-2, -1))  # alpha is noise: edges all over
        expected = np.where(large_alpha > 0, np.clip(expected / np.maximum(large_alpha, 1e-6), low, high), 0)
        np.testing.assert_allclose(large[..., colours:], large_alpha * top, atol=0.51)
    np.testing.assert_allclose(large[..., :colours] / np.float32(top), expected, atol=0.6 / top + 2e-5)


def test_opaque_alpha_changes_no_colour_and_hidden_colour_does_not_show():
    network = NETWORKS["bicubic skip, x3"]
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    image = picture(24, 24, 4, np.uint8)
    image[..., 3] = 255
    plain = enlarged(network, variables, image[..., :3], tile=0)
    opaque = enlarged(network, variables, image, tile=0)
    np.testing.assert_array_equal(opaque[..., :3], plain)
    assert (opaque[..., 3] == 255).all()
    image[:, 12:, 3] = 0
    other = image.copy()
    other[:, 12:, :3] = 255 - other[:, 12:, :3]
    clear = enlarged(network, variables, image, tile=0)
    np.testing.assert_array_equal(clear, enlarged(network, variables, other, tile=0))
    assert (clear[:, 45:] == 0).all()


def test_half_transparent_colours_are_those_of_the_opaque_picture():
    """Where bicubic overshoots, by more than half transparent pixels can hold."""
    network = NETWORKS["bicubic skip, x3"]
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    image = np.ones((12, 12, 4), np.float32)
    image[:, 6:, :3], image[..., 3] = 0, 0.5
    seen = enlarged(network, variables, image, tile=0)
    np.testing.assert_allclose(seen[..., :3], enlarged(network, variables, image[..., :3], tile=0), atol=1e-6)
    np.testing.assert_allclose(seen[..., 3], 0.5, atol=1e-6)


@pytest.mark.parametrize("spot", [0, 1])
def test_alpha_is_exact_where_it_is_so_as_far_as_two_pixels_away(spot):
    network = NETWORKS["bicubic skip, x3"]
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    variables["params"]["conv_last"]["bias"] += 0.5 - spot
    image = np.ones((15, 15, 4), np.float32)
    image[..., 3] = 1 - spot
    image[5:10, 5:10, 3] = spot
    exact = enlarged(network, variables, image, tile=0)[15:30, 15:30, 3] == spot
    assert exact[6:9, 6:9].all() and exact.sum() == 9


@pytest.mark.parametrize("scale", [3, 1.5, 0.7, 8, 4 + 1 / 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_factor_is_the_network_and_then_bicubic(scale, dtype):
    network = SRResNet(blocks=1, features=4, norm="none", skip="bicubic")
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    image = picture(50, 37, 3, dtype)
    large = enlarged(network, variables, image, scale, tile=40)
    assert large.shape[:2] == output_size(50, 37, scale)
    by_network = enlarged(network, variables, image, tile=0)
    if dtype == np.uint8:
        np.testing.assert_array_equal(large, imresize(by_network, scale=scale / 4))
    else:
        rounded_to_8 = imresize((by_network / 257 + 0.5).astype(np.uint8), scale=scale / 4)
        assert np.abs(large / 257 - rounded_to_8).max() < 3


def test_output_size_is_not_thrown_off_by_rounding():
    assert output_size(10, 30, 1.1) == (11, 33) and output_size(10, 3, 0.25) == (3, 1)


def test_what_cannot_be(trained):
    network, variables = trained
    with pytest.raises(UserError, match="tile=.*halos"):
        make_enlarger(network, variables, tile=2 * reach(network))
    with pytest.raises(UserError, match="devices=99"):
        make_enlarger(network, variables, devices=99)


def test_a_network_that_works_below_the_pictures_resolution_is_refused():
    """How far it sees, and what lies beyond a picture for it, is then not known."""

    class Strided(nn.Module):
        scale: int = 4
        last: type[nn.Module] = Conv

        @nn.compact
        def __call__(self, lr, train=False):
            x = Conv(8, 3, stride=2)(lr)
            return self.last(3, 3)(x)

    with pytest.raises(UserError, match="Strided: its Conv_1 works below the picture's resolution"):
        reach(Strided())
    with pytest.raises(UserError, match="Strided: its Conv_1 is flax's; tiles need a layers.Conv"):
        reach(Strided(last=nn.Conv))


def test_a_network_that_sees_far_is_given_a_smaller_halo():
    network = RRDBNet()
    assert reach(network) == 349
    assert make_enlarger(network, {"params": {}}).halo == FARTHEST == reach(SRResNet(blocks=32))


def test_a_named_halo_is_smaller_and_nearly_as_good():
    network = NETWORKS["bicubic skip, x3"]
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)), 1)
    variables = jax.tree.map(lambda x: x + 0.01, variables)
    wide = picture(20, 2 * SMALL)
    for image, most, given in ((picture(60, 60), 0.2, {"tile": 40, "halo": 3}), (wide, 1, {"halo": 0})):
        exact, near = enlarged(network, variables, image, tile=0), enlarged(network, variables, image, **given)
        assert 0 < np.abs(near - exact).max() < most and np.median(np.abs(near - exact)) < 1e-6


def test_tiles_go_to_the_devices_in_turn():
    network, image, asked = NETWORKS["tanh, x2"], picture(8, 100), []
    made = Enlarger(
        network, "abc", lambda copy, tiles, _: asked.append(copy) or tiles.repeat(2, 1).repeat(2, 2), 32, 8, 1, False
    )
    list(made.bands(lambda top, bottom: image[top:bottom], (8, 100), None, lambda *_: None))
    assert len(asked) > 4 and asked == list("abcabcabcabc")[: len(asked)]


def test_without_memory_half_of_the_picture_is_tried_where_a_tile_was_larger(caplog):
    def enlarge(copy, tiles, _):
        if tiles.shape[2] > 64:
            raise MemoryError
        return tiles.repeat(2, 1).repeat(2, 2)

    image = picture(8, 100)
    made = Enlarger(NETWORKS["tanh, x2"], ["a"], enlarge, 512, 8, 1, False)
    large = np.concatenate(list(made.bands(lambda top, bottom: image[top:bottom], (8, 100), None, lambda *_: None)))
    np.testing.assert_array_equal(large, image.repeat(2, 0).repeat(2, 1))
    assert "tiles of 512 pixels need more memory than there is: trying 50" in caplog.text


def test_auto_tile_heeds_free_memory(trained, monkeypatch):
    network, variables = trained
    enlarge, row, halo = tiles.make_enlarge(network), picture(1, 4000), reach(network)

    def tile(batch=1, devices=1):
        return tiles.auto_tile(enlarge, variables, (3000, 4000), row, halo, batch, devices)

    assert tiles.host_memory() > 10**8
    monkeypatch.setattr(tiles, "host_memory", lambda: 10**12)
    assert tile() == max(tiles.HALOS * halo, SMALL)
    monkeypatch.setattr(tiles, "host_memory", lambda: 10**6)
    assert tile() == max(2 * halo + 32, SMALL)
    monkeypatch.setattr(tiles, "HALOS", 10**6)
    monkeypatch.setattr(tiles, "host_memory", lambda: 10**11)
    one = tile()
    assert one > 1000 and tile(batch=4) == tile(devices=4) == pytest.approx(one / 2, abs=tiles.STEP)
    assert one % tiles.STEP == tile(batch=2) % tiles.STEP == 0  # so that a little less memory asks for the same program
    assert tile(batch=2, devices=2) == tile(batch=4)


@pytest.mark.parametrize(("used", "cached", "free"), [(600, 100, 500), (600, 500, 900), (1100, 0, 0)])
def test_memory_of_a_container_counts_what_is_read_from_files_as_free(tmp_path, used, cached, free):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(f"anon {used - cached}\nfile {cached}\ninactive_file {cached}\n")
    assert tiles.host_memory(tmp_path) == free
    (tmp_path / "memory.max").write_text("max\n")
    assert tiles.host_memory(tmp_path) > 10**8
    job = tmp_path / "slurm" / "job"
    job.mkdir(parents=True)
    [(tmp_path / f"memory.{name}").rename(job / f"memory.{name}") for name in ("current", "stat")]
    (job / "memory.max").write_text("1000\n")
    (tmp_path / "own").write_text("1:cpu:/\n0::/slurm/job/step\n")
    assert tiles.host_memory(tmp_path, tmp_path / "own") == free
