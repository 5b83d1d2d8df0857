"""Draw the README's picture: the report of a corpus as a browser shows it.

    python docs/picture.py CORPUS docs/report.png

Needs Chromium and playwright, which drives it; see `make picture`.
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH, ROWS, COLOURS = 1180, 2, 256
MARGIN = 6


def main(page: Path, picture: Path) -> None:
    """Take the top of a report, its first charts and first pairs, and save them as one PNG."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        sys.exit("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = opened.new_page(viewport={"width": WIDTH, "height": 900})
        tab.goto(page.resolve().as_uri())
        top = bottom(tab, "section:has(#went)")
        charts = bottom(tab, "section[aria-label='Season']")
        pairs = tab.locator("section:has(#random)").bounding_box()
        last = tab.locator("section:has(#random) .pair").nth(4 * ROWS - 1).bounding_box()
        parts = [(0, max(top, charts)), (pairs["y"], last["y"] + last["height"] + MARGIN)]
        whole = Image.open(BytesIO(tab.screenshot(full_page=True))).convert("RGB")
        opened.close()
    cuts = [whole.crop((0, int(start), WIDTH, int(end) + MARGIN)) for start, end in parts]
    sheet = Image.new("RGB", (WIDTH, sum(cut.height for cut in cuts)))
    at = 0
    for cut in cuts:
        sheet.paste(cut, (0, at))
        at += cut.height
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


def bottom(tab: Page, selector: str) -> float:
    """Return where a part of the page ends, pixels from its top."""
    box = tab.locator(selector).bounding_box()
    return box["y"] + box["height"]


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "report.html", Path(sys.argv[2]))
