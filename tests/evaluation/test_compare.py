"""The page of `srgan compare`, looked at and moved in a browser."""

import base64
import html
import io
import re

import numpy as np
import pytest
from chromium import resize
from PIL import Image
from running import refusal
from small_weights import small_weights

from srgan_jax.__main__ import main
from srgan_jax.data.images import read_image
from srgan_jax.inference.image_reader import open_picture
from srgan_jax.inference.image_writer import write_picture
from srgan_jax.ops.bicubic import imresize

STATE = """
const view = document.querySelector('.view'), stage = document.querySelector('.stage');
return {left: view.scrollLeft, top: view.scrollTop, wide: stage.offsetWidth, high: stage.offsetHeight,
        frame: [view.clientWidth, view.clientHeight], wipe: parseFloat(stage.style.getPropertyValue('--wipe')),
        crisp: getComputedStyle(document.querySelector('.over')).imageRendering}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.png of 300x200, half of it as "<b>&.png", and noise as noise.webp."""
    folder = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (200, 300, 3), np.uint8)
    Image.fromarray(whole).save(folder / "a.png")
    Image.fromarray(whole[::2, ::2]).save(folder / "<b>&.png")
    Image.fromarray(255 - whole).save(folder / "noise.webp", lossless=True)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    versions = [str(folder / name) for name in ("<b>&.png", "a.png", "noise.webp")]
    assert main(["compare", *versions, "-o", f"{folder}/page.html"]) == 0
    return folder / "page.html"


@pytest.fixture
def opened(browser, page):
    """The page, with nothing in the console before or after, and no request."""
    resize(browser, 1100)
    browser.get_log("browser")
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def zoom(browser, value: str) -> dict:
    browser.find_element("css selector", f".zoom button[value='{value}']").click()
    return browser.execute_script(STATE)


def test_captions_are_names_and_sizes(page):
    text = page.read_text()
    captions = re.findall("<figcaption>(.*?) <small>(.*?)</small></figcaption>", text)
    assert [(html.unescape(name), size) for name, size in captions] == [
        ("<b>&.png", "150x100, each pixel shown 2 times as wide and high"),
        ("a.png", "300x200"),
        ("noise.webp", "300x200"),
    ]
    assert "<b>&" not in text


def test_smaller_pictures_are_shown_at_the_size_of_the_largest_and_labels_are_text(opened):
    assert opened.find_element("css selector", "figcaption").text.splitlines()[0] == "<b>&.png"
    assert opened.find_elements("css selector", "b") == []
    sources = [opened.find_element("class name", name) for name in ("over", "under")]
    assert [each.get_attribute("alt").rsplit(", ")[-1] for each in sources] == ["<b>&.png", "noise.webp"]
    assert sources[0].size == sources[1].size


def test_zoom_keeps_pixels_crisp_and_the_middle_in_the_middle(opened):
    fit = opened.execute_script(STATE)
    assert fit["high"] <= fit["frame"][1] and fit["wide"] <= fit["frame"][0]
    assert abs(fit["high"] * 3 - fit["wide"] * 2) <= 3
    for times in (1, 2, 4, 8):
        state = zoom(opened, str(times))
        assert (state["wide"], state["high"], state["crisp"]) == (300 * times, 200 * times, "pixelated")
        if state["wide"] > state["frame"][0]:
            assert abs(state["left"] + state["frame"][0] / 2 - state["wide"] / 2) <= 2
    assert zoom(opened, "fit")["wide"] == fit["wide"]


def test_from_fit_the_middle_stays_in_the_middle_of_a_high_frame(opened):
    resize(opened, 400)
    fit = zoom(opened, "fit")
    assert fit["high"] < fit["frame"][1] - 100
    state = zoom(opened, "8")
    assert abs(state["top"] + state["frame"][1] / 2 - state["high"] / 2) <= 2


def test_a_clear_picture_shows_nothing_of_the_other(browser, tmp_path):
    for name, colour in (("clear.png", (0, 0, 255, 0)), ("red.png", (255, 0, 0, 255))):
        Image.new("RGBA", (100, 100), colour).save(tmp_path / name)
    assert main(["compare", f"{tmp_path}/clear.png", f"{tmp_path}/red.png", "-o", f"{tmp_path}/page.html"]) == 0
    browser.get((tmp_path / "page.html").as_uri())
    browser.find_element("class name", "stage").screenshot(f"{tmp_path}/stage.png")
    shown = read_image(tmp_path / "stage.png").astype(int)
    middle, (left, right) = len(shown) // 2, (shown.shape[1] // 4, shown.shape[1] * 3 // 4)
    assert shown[middle, right].tolist() == [255, 0, 0] and shown[middle, left].min() > 200


def test_dragging_the_bar_wipes_and_dragging_elsewhere_pans(opened, folder):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.support.ui import Select

    before = zoom(opened, "8")
    view, bar = opened.find_element("class name", "view"), opened.find_element("class name", "bar")
    ActionChains(opened).move_to_element_with_offset(view, 200, 50).click_and_hold().move_by_offset(-90, 30).perform()
    panned = opened.execute_script(STATE)
    assert (panned["left"], panned["top"]) == (before["left"] + 90, before["top"] - 30)
    assert panned["wipe"] == before["wipe"] + 90, "the bar stays where it is in the frame"
    ActionChains(opened).release().perform()
    x = bar.rect["x"]
    ActionChains(opened).move_to_element(view).click_and_hold().move_by_offset(-150, 0).release().perform()
    assert abs(bar.rect["x"] - (x - 150)) <= 1 + panned["frame"][0] / 100
    assert opened.execute_script(STATE)["left"] == panned["left"]
    slider = opened.find_element("css selector", "input[type=range]")
    slider.send_keys(Keys.END)
    assert abs(bar.rect["x"] - (view.rect["x"] + panned["frame"][0])) <= 2
    slider.send_keys(Keys.HOME)
    Select(opened.find_element("css selector", "select.right")).select_by_visible_text("a.png")
    zoom(opened, "1")
    opened.find_element("class name", "stage").screenshot(f"{folder}/stage.png")
    shown, original = (np.asarray(read_image(folder / name)).astype(int) for name in ("stage.png", "a.png"))
    assert shown.shape == original.shape
    assert np.abs(shown - original)[:, 6:].max() <= 1, "1:1 shows each pixel as it is"


def test_a_photograph_by_bicubic_and_two_networks(folder, tmp_path, browser):
    files = [small_weights(tmp_path / f"{scale}.safetensors", f"small x{scale}", scale) for scale in (2, 4)]
    photo = str(folder / "<b>&.png")
    assert main(["compare", "-i", photo, *map(str, files), "-o", f"{tmp_path}/sub/page.htm"]) == 0
    browser.get((tmp_path / "sub" / "page.htm").as_uri())
    strip = "return [...document.querySelectorAll('.strip img')].map(i => [i.dataset.label, i.naturalWidth, i.src])"
    shown = browser.execute_script(strip)
    assert [each[:2] for each in shown] == [["bicubic", 600], ["small x2", 300], ["small x4", 600]]
    png = base64.b64decode(shown[0][2].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(png)) as bicubic:
        np.testing.assert_array_equal(np.asarray(bicubic), imresize(read_image(folder / "<b>&.png"), scale=4))


def test_depth_and_channels_of_every_kind_are_shown(tmp_path):
    kinds = [(dtype, channels) for dtype in (np.uint8, np.uint16) for channels in (1, 2, 3, 4)]
    rng = np.random.default_rng(0)
    for dtype, channels in kinds:
        image = rng.integers(0, np.iinfo(dtype).max, (8, 9, channels), dtype, endpoint=True)
        write_picture(tmp_path / f"{dtype.__name__}_{channels}.png", [image], height=8, width=9)
    files = sorted(tmp_path.glob("*.png"))
    assert main(["compare", *map(str, files), "-o", f"{tmp_path}/page.html"]) == 0
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', (tmp_path / "page.html").read_text())
    for path, source in zip(files, sources, strict=True):
        picture = open_picture(path)
        expected = picture.rows(0, 8)[..., 0] / (257 if picture.dtype == np.uint16 else 1)
        with Image.open(io.BytesIO(base64.b64decode(source))) as shown:
            assert len(shown.getbands()) == picture.channels
            assert np.abs(np.asarray(shown).reshape(8, 9, -1)[..., 0] - expected).max() <= 0.5


def test_bad_input_is_one_line_and_nothing_is_written(folder, tmp_path, capsys):
    def refused(*arguments: str, output: str = f"{tmp_path}/page.html") -> str:
        said = refusal(capsys, ["compare", *arguments, "-o", output])
        assert list(tmp_path.glob("*.html*")) == []
        return said

    a = str(folder / "a.png")
    Image.new("RGB", (299, 200)).save(tmp_path / "odd.png")
    Image.new("RGB", (150, 200)).save(tmp_path / "flat.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("1", (8001, 8000)).save(tmp_path / "huge.png")
    assert "odd.png: 299x200 does not go a whole number of times into the 300x200 of a.png" in refused(
        a, f"{tmp_path}/odd.png"
    )
    assert "flat.png: 150x200" in refused(a, f"{tmp_path}/flat.png")
    assert "broken.png: not an image" in refused(a, f"{tmp_path}/broken.png")
    assert "no.png: No such file" in refused(a, f"{tmp_path}/no.png")
    assert "huge.png: 8001x8000 is more than the 64000000 pixels" in refused(a, f"{tmp_path}/huge.png")
    assert "nothing to compare" in refused(a)
    assert "need --input" in refused(a, str(tmp_path)) and "need --input" in refused("x.safetensors", a)
    assert "not a run" in refused("-i", a, "no_such_run")
    assert "page.png" in refused(a, a, output=f"{tmp_path}/page.png")


def test_a_page_that_is_there_is_kept_and_equal_names_are_told_apart(folder, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes((folder / "a.png").read_bytes())
    output = tmp_path / "page.html"
    output.write_text("mine")
    arguments = ["compare", f"{folder}/a.png", f"{tmp_path}/a.png", "-o", str(output)]
    assert main(arguments) == 2 and "--overwrite" in capsys.readouterr().err and output.read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert f'data-label="{tmp_path}/a.png"' in output.read_text()
