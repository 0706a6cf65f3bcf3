"""The report of a real grid, read as text and looked at in a browser."""

import html
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from chromium import resize
from PIL import Image
from running import ROOT, in_this_process, refusal

from srgan_jax.__main__ import main
from srgan_jax.data.images import write_png
from srgan_jax.evaluation import paper
from srgan_jax.evaluation.chart import LEFT, POINTS, chart, thin, ticks
from srgan_jax.evaluation.measure import measure
from srgan_jax.evaluation.report import write_report
from srgan_jax.evaluation.results import read_results, write_results

GRID = """
def get_grid():
    small = ["steps=4", "checkpoint.every=4", "validation.every=2", "log.every=1", "log.tensorboard=False"]
    broken = ["loss.feature.weight=1.0", "loss.feature.weights=/no/<b>&.npz"]
    rows = {
        "tiny": {"config": "configs/tiny.py", "overrides": small, "paper": "SRResNet-MSE"},
        "tiny-gan": {"config": "configs/tiny_gan.py", "overrides": small, "init_from": "tiny"},
        "broken": {"config": "configs/tiny.py", "overrides": [*small, *broken]},
    }
    return {"seeds": [0], "rows": rows, "sets": ["", "FOLDER/set5"]}
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """Of a grid with a failed row, measured on the bundled photographs and on noise that goes by the name set5."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "set5").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(noise).save(folder / "set5" / "<noise>.png")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "grid.py").write_text(GRID.replace("FOLDER", str(folder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srgan_jax.evaluation.ablate.children", in_this_process)
        assert main(["ablate", f"--grid={folder}/grid.py", f"--workdir={folder}/runs"]) == 1
    return folder / "runs"


def text(source: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", source))


def table(page: str, caption: str) -> tuple[str, dict[str, list[str]]]:
    """(its head, row name -> texts)."""
    head, body = page.split(f'aria-label="{caption}"')[1].split("</table>")[0].split("<tbody>")
    rows = [re.findall("<t[hd][ >].*?</t[hd]>", row, re.DOTALL) for row in body.split("</tr>")[:-1]]
    return text(head), {text(name): [text(cell) for cell in rest] for name, *rest in rows}


def test_pictures_and_curves_are_there_and_nothing_is_fetched(browser, workdir):
    resize(browser, 1100)
    browser.get((workdir / "report.html").as_uri())
    sizes = browser.execute_script("return [...document.images].map(i => [i.naturalWidth, i.naturalHeight])")
    # three bundled photographs and one of noise, each LR | bicubic | 2 rows | HR and two in the wipe
    assert len(sizes) == 4 * 7 and min(min(size) for size in sizes) >= 12
    assert [96, 96] in sizes and [24, 24] in sizes and [68, 48] in sizes
    lines = browser.find_elements("css selector", "svg polyline")
    assert len(lines) == 4 and all(len(line.get_attribute("points").split()) >= 2 for line in lines)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert (workdir / "report.html").stat().st_size < 5e6


def test_the_wipe_moves_by_key_and_pointer_and_shows_what_is_chosen(browser, workdir):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.support.ui import Select

    resize(browser, 1100)
    browser.get((workdir / "report.html").as_uri())
    photo = browser.find_element("css selector", ".photo")
    left, right = (Select(photo.find_element("css selector", f"select.{side}")) for side in ("left", "right"))
    assert [option.text for option in left.options] == ["LR", "bicubic", "tiny", "tiny-gan", "HR"]
    assert (left.first_selected_option.text, right.first_selected_option.text) == ("bicubic", "tiny-gan")
    slider, over = photo.find_element("css selector", "input"), photo.find_element("css selector", ".over")
    assert slider.get_attribute("aria-label").startswith("Wipe")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", photo.find_element("class name", "stage"))

    def pixels() -> np.ndarray:
        photo.find_element("class name", "stage").screenshot(str(workdir / "stage.png"))
        with Image.open(workdir / "stage.png") as image:
            return np.asarray(image.convert("RGB")).astype(int)

    before, clip = pixels(), over.value_of_css_property("clip-path")
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert slider.get_attribute("value") == "60" and over.value_of_css_property("clip-path") != clip
    after = pixels()
    width = before.shape[1]
    changed = np.abs(after - before).max(axis=(0, 2)) > 20
    assert changed[int(0.52 * width) : int(0.58 * width)].any()
    assert not changed[: int(0.48 * width)].any() and not changed[int(0.62 * width) :].any()
    stage = photo.find_element("class name", "stage")
    ActionChains(browser).move_to_element_with_offset(stage, -stage.size["width"] // 4, 0).click().perform()
    assert abs(float(slider.get_attribute("value")) - 25) <= 1
    right.select_by_visible_text("HR")
    under = photo.find_element("css selector", ".under")
    hr = photo.find_element("css selector", ".strip img[data-label=HR]")
    assert under.get_attribute("src") == hr.get_attribute("src") and under.get_attribute("alt").endswith("HR")


def test_tables_show_figures_the_paper_and_failures(workdir):
    page = (workdir / "report.html").read_text()
    tiny, gan, broken = read_results(workdir / "results.jsonl")
    _, found = table(page, "Figures on set5")
    assert list(found) == ["bicubic", "tiny", "tiny-gan", "broken"]
    psnr, ssim = (tiny["figures"]["set5"][name] for name in ("psnr_y", "ssim_daala"))
    theirs = paper.TABLE["set5"]["SRResNet-MSE"]
    assert found["tiny"][:2] == ["1", f"{psnr:.2f}"]
    differences = [f"{psnr - theirs[0]:+.2f}", f"{theirs[1]:.4f}", f"{ssim - theirs[1]:+.4f}"]
    assert found["tiny"][-4:] == [f"{theirs[0]:.2f}", *differences]
    assert found["tiny-gan"][-4:] == ["–"] * 4 and found["bicubic"][-4] == "28.43"
    assert found["broken"][1] == f"failed: {broken['reason']}" and "/no/<b>&.npz" in broken["reason"]
    assert "paper" not in table(page, "Figures on validation")[0]
    _, runs = table(page, "Runs")
    assert runs["tiny"][1:3] == ["done", "4"] and runs["broken"][1] == "failed"
    shown = text(page)
    assert "discriminator.name: 'none' -> 'srgan'" in shown and "warning: set5: bicubic is" in shown
    figures = json.loads((workdir / "tiny" / "seed0" / "figures.json").read_text())
    for fact in (
        figures["methods"][1]["weights_sha256"],
        figures["data"]["set5"]["hr_sha256"],
        "BT.601",
        "srgan train",
    ):
        assert fact in shown


def test_a_phone_needs_no_sideways_scrolling(browser, workdir):
    resize(browser, 390)
    browser.get((workdir / "report.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.find_element("class name", "stage").size["width"] <= 390


def test_dark_follows_the_system(browser, workdir):
    browser.get((workdir / "report.html").as_uri())
    colours = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colours.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]


def test_report_is_written_again_the_same(workdir):
    before = (workdir / "report.html").read_bytes()
    (workdir / "report.html").unlink()
    assert main(["report", str(workdir)]) == 0
    assert (workdir / "report.html").read_bytes() == before
    assert b"/no/<b>" not in before and b"<noise>" not in before


def test_a_finished_row_stays_what_it_was(workdir, tmp_path, capsys):
    """Without the row it began from, with other arguments than it was trained by; begun from another it is refused."""
    runs = shutil.copytree(workdir, tmp_path / "runs")
    before = read_results(runs / "results.jsonl")
    shutil.rmtree(runs / "tiny" / "seed0" / "checkpoints")
    grid = workdir.parent / "grid.py"
    arguments = [f"--workdir={runs}", "--rows", "tiny-gan"]
    assert main(["ablate", f"--grid={grid}", *arguments, "--", "--config.log.every=2"]) == 0
    assert read_results(runs / "results.jsonl") == before
    edited = grid.read_text().replace('small, "init_from"', '[*small, "log.every=3"], "init_from"')
    (workdir.parent / "edited.py").write_text(edited)
    assert main(["ablate", f"--grid={workdir.parent}/edited.py", *arguments]) == 0
    assert read_results(runs / "results.jsonl") == before
    (workdir.parent / "other.py").write_text(grid.read_text().replace('"init_from": "tiny"', '"init_from": ""'))
    assert "init_from: 'tiny' -> ''" in refusal(capsys, ["ablate", f"--grid={workdir.parent}/other.py", *arguments])


def test_means_of_different_trainings_are_told(workdir, tmp_path):
    runs = shutil.copytree(workdir, tmp_path / "runs")
    lines = read_results(runs / "results.jsonl")
    shutil.copytree(runs / "tiny" / "seed0", runs / "tiny" / "seed1")
    write_report([*lines, lines[0] | {"seed": 1, "step": 8}], runs / "report.html")
    page = html.unescape((runs / "report.html").read_text())
    assert "warning: tiny: seeds of 4 and 8 updates are in one mean" in page and "different photographs" not in page
    kept = runs / "tiny" / "seed1" / "figures.json"
    kept.write_text(kept.read_text().replace('"photographs": "', '"photographs": "0'))
    write_report([*lines, lines[0] | {"seed": 1}], runs / "report.html")
    page = html.unescape((runs / "report.html").read_text())
    assert "warning: runs were trained on different photographs" in page and "in one mean" not in page
    for difference, told in (("data.crop: 16 -> 24", True), ("data.path: 'a' -> 'b'", False)):
        write_report([*lines, lines[0] | {"seed": 1, "differences": [difference]}], runs / "report.html")
        assert ("trained on different photographs" in (runs / "report.html").read_text()) == told


def test_spread_over_seeds(workdir):
    (line, *_), seeds = read_results(workdir / "results.jsonl"), (0, 1, 2)
    for seed in seeds[1:]:
        shutil.copytree(workdir / "tiny" / "seed0", workdir / "tiny" / f"seed{seed}", dirs_exist_ok=True)
    lines = [
        line | {"seed": seed, "figures": {"set5": line["figures"]["set5"] | {"psnr_y": value}}}
        for seed, value in zip(seeds, (20.0, 21.0, 22.0), strict=True)
    ]
    write_report(lines, workdir / "spread.html")
    rgb = f"<td>{line['figures']['set5']['psnr_rgb']:.2f} <small>± 0.00</small></td>"
    assert all(cell in (workdir / "spread.html").read_text() for cell in ("<td>21.00 <small>± 1.00</small></td>", rgb))
    del lines[1]["figures"]["set5"]["psnr_rgb"]  # a mean of the others would not be the row's
    write_report(lines, workdir / "spread.html")
    assert rgb not in (workdir / "spread.html").read_text()


def test_a_file_beside_the_pictures_is_none(workdir):
    counts = []
    for _ in range(2):
        write_report(read_results(workdir / "results.jsonl"), workdir / "beside.html")
        counts.append((workdir / "beside.html").read_text().count('class="tool"'))
        [(cuts / ".DS_Store").touch() for cuts in workdir.glob("*/seed0/cuts/*")]
    assert counts[0] == counts[1] > 0


def test_no_two_rows_have_the_same_line(browser, workdir, tmp_path):
    runs = shutil.copytree(workdir, tmp_path / "runs")
    (line, *_) = read_results(runs / "results.jsonl")
    names = [f"row{number}" for number in range(18)]
    for name in names:
        shutil.copytree(runs / "tiny", runs / name)
    write_report([line | {"row": name} for name in names], runs / "report.html")
    browser.get((runs / "report.html").as_uri())
    drawn = "s = getComputedStyle(e); return [s.stroke, s.strokeDasharray, s.borderTopColor, s.borderTopStyle].join()"
    for place, charts in (("svg polyline", 2), (".legend i", 1)):
        styles = browser.execute_script(f"return [...document.querySelectorAll('{place}')].map(e => {{{drawn}}})")
        assert len(styles) == charts * len(names) and len(set(styles)) == len(names)


def test_equal_pictures_and_half_a_line_are_no_obstacle(workdir, tmp_path):
    runs = shutil.copytree(workdir, tmp_path / "runs")
    (line, *_) = read_results(runs / "results.jsonl")
    lines = [line | {"figures": {"set5": line["figures"]["set5"] | {"psnr_y": value}}} for value in (20.0, math.inf)]
    metrics = runs / "tiny" / "seed0" / "metrics.jsonl"
    metrics.write_text('{"step": 1, "validation/psnr_y": null}\n' + metrics.read_text() + '{"step": 5, "g/lo')
    write_results(runs / "results.jsonl", lines)
    assert "Infinity" not in (runs / "results.jsonl").read_text()
    write_report(read_results(runs / "results.jsonl"), runs / "report.html")
    assert "<td>inf" in (runs / "report.html").read_text()


def test_rows_of_different_pictures_are_told(workdir, tmp_path):
    runs, other = shutil.copytree(workdir, tmp_path / "runs"), tmp_path / "set5"
    write_png(other / "another.png", np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8))
    before = (runs / "report.html").read_text()
    measure(runs / "tiny-gan" / "seed0", [other])
    assert main(["report", str(runs)]) == 0
    said = "warning: set5: tiny-gan seed 0 measured on other pictures than tiny seed 0, or otherwise; rows do not "
    assert said in (runs / "report.html").read_text() and "other pictures" not in before
    measure(runs / "tiny" / "seed0", [other])
    assert main(["report", str(runs)]) == 0
    assert "other pictures" not in (runs / "report.html").read_text()
    kept = runs / "tiny" / "seed0" / "figures.json"
    figures = json.loads(kept.read_text())
    kept.write_text(json.dumps(figures | {"convention": figures["convention"] | {"psnr_y": "on full-range Y"}}))
    assert main(["report", str(runs)]) == 0
    assert said in (runs / "report.html").read_text()


def test_bad_input_is_one_line(workdir, tmp_path, capsys):
    def refused(folder: Path) -> str:
        return refusal(capsys, ["report", str(folder)])

    assert "results.jsonl" in refused(tmp_path / "no") and not (tmp_path / "no").exists()
    line = (workdir / "results.jsonl").read_text().splitlines()[0]
    outside = json.dumps(json.loads(line) | {"row": "../../x"})
    for text in ("{", "3", "{}", line.replace('"seconds"', '"sec"'), line.replace("done", "good"), outside):
        (tmp_path / "results.jsonl").write_text(text + "\n")
        assert "damaged" in refused(tmp_path)
    (tmp_path / "results.jsonl").write_text(line + "\n")
    assert "figures.json" in refused(tmp_path)
    runs = shutil.copytree(workdir, tmp_path / "runs")
    (runs / "results.jsonl").write_text(line.replace('"seed": 0', '"seed": "0"') + "\n")
    assert "is damaged" in refused(runs)
    assert not (tmp_path / "report.html").exists()


def test_chart_places_points_and_ticks():
    drawn = chart([("a", 0, [(0.0, 1.0), (100.0, 0.01)])], log=True)
    (line,) = drawn["lines"]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line["path"].split())
    assert x0 == LEFT < x1 and y1 > y0 and drawn["log"]
    assert [text for _, text in drawn["x"]] == ["0", "20", "40", "60", "80", "100"]
    assert {"0.01", "0.1", "1"} <= {text for _, text in drawn["y"]} and chart([("a", 0, [(0.0, -1e16)])], log=False)
    assert not chart([("a", 0, [(0.0, -1.0), (1.0, 1.0)])], log=True)["log"]
    (alone,) = chart([("a", 0, [(5.0, 2.0)])], log=False)["lines"]
    assert len(set(alone["path"].split())) == 2 and chart([], log=True)["lines"] == []  # a stroke: a point is not seen
    close = chart([("a", 0, [(0.0, 28.40), (1.0, 28.48)])], log=False)["y"]
    assert [text for _, text in close] == ["28.4", "28.42", "28.44", "28.46", "28.48"]
    assert ticks(24.1, 29.7) == [26, 28]
    many = thin([(float(x), 2.0 * x) for x in range(1000)])
    assert len(many) <= POINTS and np.allclose([y / x for x, y in many], 2)
