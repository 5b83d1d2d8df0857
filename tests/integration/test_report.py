"""The page a person looks at: what it says, that it is one file, that it works in a browser."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import Scenes, lonlat, points_file
from PIL import Image

from s1s2 import Corpus
from s1s2.cli import main
from s1s2.looking import report as report_after_build
from s1s2.report import beside, facts, figures
from s1s2.report.page import render

REPORT = report_after_build
"""As it is before tests have it switched off."""
MOST_BYTES = 5_000_000
HOSTILE = '<script>alert("x")</script>'


def corpus(root: Path, count: int, *flags: str) -> Path:
    """Build a corpus of 64 px chips from scenes of two baselines."""
    scenes = Scenes(root / "catalog")
    places = []
    for number, (epsg, tile) in enumerate([(32631, "31TFK"), (32633, "33TFK")]):
        scenes.s2(epsg=epsg, tile=tile, size_m=12_000, baseline="05.00" if number else "03.01")
        scenes.s1(epsg=epsg, size_m=14_000, slice_number=number)
        places += [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, epsg) for i in range(6)]
    points = points_file(root / "p.geojson", places[:count])
    period = ("--start", "2021-07-01", "--end", "2021-07-02")
    what = ("--catalog", str(scenes.save()), "--points", str(points), "--chip-size", "64")
    assert main(["build", *what, *period, "-o", str(root / "out"), *flags]) == 0
    return root / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = corpus(tmp_path_factory.mktemp("report"), 12)
    beside.write(folder)
    return folder


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_the_page_is_one_small_file_that_asks_nobody(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert len(page.encode()) < MOST_BYTES
    assert "default-src 'none'" in page
    asked = re.findall(r"\s(?:src|href|xlink:href)=\"([^\"]*)\"|url\(([^)]*)\)", page)
    addresses = ["".join(found).strip("'\"") for found in asked]
    assert len(addresses) > 24
    assert all(address.startswith(("data:", "#")) for address in addresses)


def test_every_picture_has_words_and_every_figure_lies_beside_it(out: Path) -> None:
    page = (out / "report.html").read_text()
    images = re.findall(r"<img [^>]*src=\"data[^>]*>", page)
    assert len(images) >= 24
    assert all(re.search(r'alt="[^"]{10,}"', image) for image in images)
    drawn = re.findall(r"<svg[^>]*>", page)
    assert len(drawn) >= 20
    assert all('role="img"' in svg and "aria-label=" in svg for svg in drawn)
    names = {p.stem for p in (out / "report").glob("*.png")}
    assert {"map", "funnel", "lag", "cloud", "latitude", "season", "orbits", "bands"} <= names
    assert all(min(size_of(path)) > 200 for path in (out / "report").glob("*.png"))


def test_the_page_says_what_the_tables_say(out: Path) -> None:
    about, page = Corpus(out).about, (out / "report.html").read_text()
    assert about["corpus_id"] in page
    assert "12 of 12 pairs verified" in page
    assert "real imagery" in page
    assert "SIMULATED" not in page
    assert "baseline 03.01" in page
    assert "baseline 05.00" in page
    for split, count in about["splits"].items():
        assert f"{split} {count}" in page


def test_the_page_holds_the_estimate_against_what_it_was(out: Path) -> None:
    page = (out / "report.html").read_text()
    rows = dict(
        re.findall(r'<th scope="row">([^<]+)</th><td>[^<]+</td><td>([^<]+)</td></tr>', page)
    )
    assert rows["queries to the catalog"] == "2"
    assert rows["pairs looked at"] == "12"
    assert {"pixels on disk", "most memory", "time"} <= rows.keys()
    assert "Asked again or waited: never." in page


def test_a_page_belongs_to_no_corpus_id(out: Path) -> None:
    before = Corpus(out).about["corpus_id"]
    beside.write(out, seed=3)
    assert main(["verify", str(out)]) == 0
    assert Corpus(out).about["corpus_id"] == before


def test_another_seed_draws_other_pairs_and_the_same_seed_the_same(out: Path) -> None:
    one, again, other = (render(Corpus(out), seed=seed)[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.hostile
def test_ids_and_names_are_text_not_markup(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "out")
    opened = Corpus(tmp_path / "out")
    opened.about |= {"name": HOSTILE, "recipe": opened.about["recipe"] + f"# {HOSTILE}\n"}
    opened.index["s1_platform"] = HOSTILE
    opened.index["s1_orbit_state"] = '"><img src=x onerror=alert(1)>'
    opened.index["processing_baseline"] = f"${HOSTILE}$"
    page, _ = render(opened)
    assert HOSTILE not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("count", [1, 2])
def test_a_corpus_of_hardly_any_chips_has_a_page(tmp_path: Path, count: int) -> None:
    folder = corpus(tmp_path, count, "-n", str(count))
    page = beside.write(folder).read_text()
    assert f"{count} of {count} pairs verified" in page


def test_a_corpus_without_chips_has_a_page(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "out")
    opened = Corpus(tmp_path / "out")
    opened.about |= {"chips": 0, "splits": dict.fromkeys(opened.about["splits"], 0)}
    opened._index = opened.index.iloc[:0]
    page, drawn = render(opened)
    assert "0 of 12 pairs verified" in page
    assert [figure.name for figure in drawn] == ["funnel"]


def test_a_very_large_corpus_is_drawn_in_part(out: Path) -> None:
    """Aggregates of all its rows; dots of some, thumbnails of few."""
    opened, times = Corpus(out), 20_000
    few = opened.index
    many = pd.concat([few] * times, ignore_index=True)
    many["chip"] = np.arange(len(many))
    opened._index = many
    opened.about["chips"] = len(many)
    original = Corpus(out)
    opened.read = lambda chip: original.read(chip % len(few))  # type: ignore[method-assign]
    page, _ = render(opened)
    assert "240,000" in page
    assert f"One of {figures.thinned(len(many))} pairs is drawn" in page
    assert len(page.encode()) < MOST_BYTES


def test_points_that_tables_disagree_about_are_counted() -> None:
    lost = pd.DataFrame({"point": [1, 1], "stage": ["match", "chip"], "reason": ["lag", "cloud"]})
    assert facts.funnel(np.arange(3), lost, np.array([0])).astray == 1
    assert facts.funnel(np.arange(3), lost.iloc[:1], np.array([0, 9])).astray == 1
    assert facts.funnel(np.arange(3), lost.iloc[:1], np.array([0])).astray == 0


def test_a_report_that_fails_never_fails_a_build(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "report.html").unlink()

    def fail(*_: object, **__: object) -> None:
        msg = "no fonts today"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(beside, "write", fail)
        REPORT(out)
    assert capsys.readouterr().err == (
        f"s1s2: no report: no fonts today; s1s2 show {out} tries again\n"
    )
    REPORT(out)
    written = (out / "report.html").stat().st_mtime_ns
    REPORT(out)
    assert (out / "report.html").stat().st_mtime_ns == written, "drawn again for nothing"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A headless Chromium of this machine; these tests are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
    )
    if not path:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_works_in_a_browser_with_the_network_off(  # one visit
    out: Path, browser: object, tmp_path: Path, width: int, scheme: str
) -> None:
    context = browser.new_context(  # type: ignore[attr-defined]
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((out / "report.html").resolve().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    loaded = "[...document.images].every(i => !i.src || (i.complete && i.naturalWidth > 0))"
    assert page.evaluate(loaded)
    ground = "getComputedStyle(document.body).backgroundColor"
    first = page.evaluate(ground)
    assert (sum(map(int, re.findall(r"\d+", first)[:3])) < 200) == (scheme == "dark")
    page.click("#theme")
    assert page.evaluate(ground) != first

    pairs = page.locator("section:has(#random) .both")
    assert pairs.count() == 12
    pairs.nth(1).click()
    dialog = page.locator("dialog#compare")
    assert dialog.is_visible()
    cut = "getComputedStyle(document.querySelector('.stage')).getPropertyValue('--cut')"
    assert page.evaluate(cut) == "50%"
    box = page.locator(".stage").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + box["width"] * 0.2, middle)
    assert int(page.evaluate(cut).rstrip("%")) == pytest.approx(20, abs=6)
    page.keyboard.press("Space")
    assert page.evaluate(cut) == "100%"
    before = page.locator("dialog .caption").inner_text()
    page.click("dialog [data-go='1']")
    assert page.locator("dialog .caption").inner_text() != before
    page.keyboard.press("Escape")
    assert not dialog.is_visible()

    gates = page.locator(".tabs button")
    assert gates.count() == 5
    for number in range(gates.count()):
        gates.nth(number).click()
        assert page.locator(".gate:visible").count() == 1
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert size_of(tmp_path / "page.png")[0] == width
    assert said == []
    assert [url.partition(":")[0] for url in asked if not url.startswith("data:")] == ["file"]
    context.close()


def test_show_writes_the_page_and_says_where(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "report.html").unlink(missing_ok=True)
    assert main(["show", str(out)]) == 0
    assert f"report  {out / 'report.html'}" in capsys.readouterr().out
    assert (out / "report.html").exists()
    assert main(["show", str(out), "--json", "--chips", "0", "-o", str(out.parent / "x.png")]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[-1]["event"] == "result"
    assert said[-1]["chips"] == 12
