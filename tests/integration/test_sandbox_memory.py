"""The sandbox's memory stays bounded, whatever is asked of it."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from s1s2.sandbox.process import running

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_MB = 500
LASTS_S = 8.0
S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
COVER = "sandbox-land-cover"


class Reader:
    """Asks for hard things until it is time to end."""

    def __init__(self, address: str, number: int) -> None:
        self.address = address
        self.luck = random.Random(number)  # noqa: S311  # not for secrets
        self.session = requests.Session()
        self.answers = 0

    def work(self, until: float) -> int:
        hard: list[Callable[[], None]] = [self.leave_early, self.pages, self.span, self.blocks]
        while time.monotonic() < until:
            self.luck.choice(hard)()
            self.answers += 1
        return self.answers

    def search(self, **asked: object) -> dict[str, Any]:
        url = f"{self.address}/api/stac/v1/search"
        answer = self.session.post(url, json=asked, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def href(self, collection: str) -> str:
        """A signed file somewhere, some time."""
        day = f"{self.luck.randint(2018, 2024)}-{self.luck.randint(3, 9):02d}-01T00:00:00Z"
        until = day.replace("-01T", "-05T")
        west, south = self.luck.uniform(-120, 140), self.luck.uniform(-35, 60)
        around = [west, south, west + 25, south + 12]
        found: list[dict[str, Any]] = []
        for box in (around, [0, 40, 20, 55]):
            found = (
                found
                or self.search(
                    collections=[collection], bbox=box, datetime=f"{day}/{until}", limit=20
                )["features"]
            )
        assets = self.luck.choice(found)["assets"]
        keys = [k for k in ("vv", "vh", "hh", "B02", "B11", "SCL", "map") if k in assets]
        href = assets[self.luck.choice(keys)]["href"]
        url = f"{self.address}/api/sas/v1/sign"
        return self.session.get(url, params={"href": href}, timeout=60).json()["href"]

    def part(self, href: str, first: int, length: int) -> None:
        span = {"Range": f"bytes={first}-{first + length - 1}"}
        answer = self.session.get(href, headers=span, timeout=60)
        assert answer.status_code in (206, 416)

    def leave_early(self) -> None:
        with requests.get(self.href(S1), stream=True, timeout=60) as answer:
            next(answer.iter_content(1 << 20))

    def span(self) -> None:
        self.part(self.href(self.luck.choice([S2, S1])), self.luck.randrange(60_000_000), 8_000_000)

    def blocks(self) -> None:
        href = self.href(self.luck.choice([S2, S1, COVER]))
        for _ in range(40):
            self.part(href, self.luck.randrange(50_000_000), 16_384)

    def pages(self) -> None:
        asked: dict[str, Any] = {"collections": [self.luck.choice([S2, S1, COVER])], "limit": 250}
        if self.luck.random() < 0.5:
            asked["bbox"] = [-180, -90, 180, 90]
        for _ in range(3):
            page = self.search(**asked)
            asked = next(k["body"] for k in page["links"] if k["rel"] == "next")


def _pid() -> int:
    """The server that this process has started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            ours = f"PPid:\t{os.getpid()}\n" in status.read_text()
            if ours and b"s1s2.sandbox" in (status.parent / "cmdline").read_bytes():
                return int(status.parent.name)
        except OSError:  # it has just ended
            continue
    pytest.fail("the server is no child of ours")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read it from")
def test_memory_stays_below_half_a_gigabyte() -> None:
    with running() as address:
        pid, until = _pid(), time.monotonic() + LASTS_S
        with ThreadPoolExecutor(16) as pool:
            readers = [Reader(address, n) for n in range(16)]
            answers = [*pool.map(lambda reader: reader.work(until), readers)]
        status = Path(f"/proc/{pid}/status").read_text()
        peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert min(answers) > 0
    assert peak_mb < MOST_MB, f"{peak_mb:.0f} MB"
