"""Reading over a network that fails: nothing passing is ever recorded as an outcome."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import rasterio
from fakes import Scenes, _Quiet, lonlat, points_file, serving

from s1s2 import journal
from s1s2.cli import main
from s1s2.layout import Folder
from s1s2.report.runs import history


@dataclass
class Faults:
    """A file server whose pixels fail while its headers are well."""

    folder: Path
    fault: str = ""
    """A status code, or `cut` for bodies that end early; empty: all is well."""
    only: str = "_B04_"
    """Part of the names that fail."""
    left: int = 10**9
    """How many more requests fail."""
    asked: list[str] = field(default_factory=list)
    takes_s: float = 0.0
    """How long an answer takes."""
    most_at_once: int = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        faults = self
        under_way, lock = [0], threading.Lock()

        class Handler(_Quiet):
            def do_HEAD(self) -> None:
                self.give(body=False)

            def do_GET(self) -> None:
                with lock:
                    under_way[0] += 1
                    faults.most_at_once = max(faults.most_at_once, under_way[0])
                time.sleep(faults.takes_s)
                with lock:  # before the answer: who has it may ask again
                    under_way[0] -= 1
                self.give(body=True)

            def give(self, *, body: bool) -> None:
                path = faults.folder / self.path.split("?")[0].lstrip("/")
                faults.asked.append(self.path)
                if not path.exists():
                    self.send(404, b"")
                    return
                content = path.read_bytes()
                total = len(content)
                first, last = (
                    (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")
                )
                start, end = int(first), min(int(last or total - 1), total - 1)
                failing = (
                    faults.fault and start > 0 and faults.only in self.path and faults.left > 0
                )
                if failing:
                    faults.left -= 1
                if failing and faults.fault != "cut":
                    self.send(int(faults.fault), b"")
                    return
                self.send_response(206 if "Range" in self.headers else 200)
                self.send_header("Content-Length", str(end - start + 1))
                self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
                self.send_header("Accept-Ranges", "bytes")
                self.end_headers()
                if body:
                    self.wfile.write(content[start : start + 50 if failing else end + 1])
                self.close_connection = bool(failing)

        with serving(Handler) as url:
            yield url


@pytest.fixture
def archive(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> Scenes:
    """A near pair and a far one; files large enough that pixels lie beyond the first request."""
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": None}
    scenes.s1(when="2021-07-01T17:30:00Z")
    scenes.s2(when="2021-07-01T10:50:31Z", tif=layout)
    scenes.s2(when="2021-06-30T10:50:31Z", tif=layout)
    monkeypatch.setattr("s1s2.wire._WAITS_S", (0.01, 0.01))
    return scenes


def build(archive: Scenes, url: str, out: Path) -> int:
    items = json.loads(json.dumps(archive.items))
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = f"{url}/{asset['href']}"
    catalog = out.with_suffix(".json")
    catalog.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return run("build", catalog, url, out)


def run(stage: str, catalog: Path, url: str, out: Path) -> int:
    points = points_file(out.with_suffix(".geojson"), [lonlat(502_500, 4_997_500, 32631)])
    return main(
        [
            *(stage, "--catalog", str(catalog), "--points", str(points), "--start", "2021-06-01"),
            *("--end", "2021-07-31", "--chip-size", "128", "-o", str(out)),
            *("--allow-host", url.removeprefix("http://")),
        ]
    )


def test_what_is_asked_again_is_told_by_cause(
    archive: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Faults(archive.folder, "503", left=2)
    with server.running() as url:
        assert build(archive, url, tmp_path / "out") == 0
    assert "2 requests for pixels were made again: HTTP 503 2" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "out")]) == 0
    assert "waits   pixels: HTTP 503 2" in capsys.readouterr().out
    (log,) = journal.read(Folder(tmp_path / "out"))
    assert log.requests == len(server.asked)
    assert 0 < log.read_bytes < sum(p.stat().st_size for p in archive.folder.rglob("*.tif"))
    told = history(Folder(tmp_path / "out"), 1, pairs=1, disk_bytes=1)
    assert told is not None
    assert ("requests for pixels", f"{log.requests:,}") in {
        (row[0], row[2]) for row in told.compared
    }
    assert "pixels: HTTP 503 2" in told.notes[0]


@pytest.mark.parametrize(("part", "share"), [("1/1", 6), ("1/3", 2)])
def test_jobs_share_the_budget_for_reads(
    archive: Scenes, tmp_path: Path, part: str, share: int
) -> None:
    out, catalog = tmp_path / "out", tmp_path / "own.toml"
    server = Faults(archive.folder, takes_s=0.05)
    with server.running() as url:
        assert build(archive, url, out) == 0  # only to have the items with their addresses
        shutil.rmtree(out)
        text = Path("catalogs/planetary-computer.toml").read_text()
        for line, own in (
            (r"endpoint = .*", f'items = "{out.with_suffix(".json")}"'),
            (r"signing = .*", 'signing = "none"'),
            (r"reads = .*", "reads = 6"),
        ):
            text = re.sub(rf"(?m)^{line}", own, text)
        catalog.write_text(text)
        assert run("sample", catalog, url, out) == 0
        allow = ("--allow-host", url.removeprefix("http://"))
        for stage in ("search", "match"):
            assert main([stage, "-o", str(out)]) == 0
        server.most_at_once = 0
        assert main(["chip", "-o", str(out), "--part", part, *allow]) == 0
    assert 0 < server.most_at_once <= share


@pytest.mark.parametrize("fault", ["503", "429", "403", "cut"])
def test_a_passing_fault_stops_the_run_and_never_changes_the_pair(
    archive: Scenes, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    near = archive.items[1]["id"]
    server = Faults(archive.folder, fault, only=near)
    with server.running() as url:
        assert build(archive, url, tmp_path / "out") == 3
        error = capsys.readouterr().err
        assert "cannot be read now" in error
        assert not (tmp_path / "out/receipts").exists(), "nothing is recorded"
        server.fault = ""
        assert build(archive, url, tmp_path / "out") == 0
    index = pd.read_parquet(tmp_path / "out/chips.parquet")
    assert list(index["s2_id"]) == [near]
    assert json.loads((tmp_path / "out/corpus.json").read_text())["refused"] == {}


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_a_short_fault_is_outlived(archive: Scenes, tmp_path: Path, fault: str) -> None:
    server = Faults(archive.folder, fault, only=archive.items[1]["id"], left=2)
    with server.running() as url:
        assert build(archive, url, tmp_path / "out") == 0
    assert server.left == 0
    index = pd.read_parquet(tmp_path / "out/chips.parquet")
    assert list(index["s2_id"]) == [archive.items[1]["id"]]


def test_a_file_that_is_delivered_and_cannot_be_decoded_is_final(
    archive: Scenes, tmp_path: Path
) -> None:
    path = archive.folder / archive.items[1]["assets"]["B04"]["href"]
    with rasterio.open(path) as file:
        data, profile = file.read(1), file.profile
    with rasterio.open(path, "w", **{**profile, "compress": "deflate"}) as file:
        file.write(data, 1)
    content = bytearray(path.read_bytes())
    for position in range(8_000, len(content) - 4_000, 997):
        content[position : position + 60] = b"\xff" * 60
    path.write_bytes(content)
    with Faults(archive.folder).running() as url:
        assert build(archive, url, tmp_path / "out") == 0
    document = json.loads((tmp_path / "out/corpus.json").read_text())
    assert document["refused"] == {"asset_corrupt": 1}


def test_a_file_that_is_gone_is_final(archive: Scenes, tmp_path: Path) -> None:
    archive.items[1]["assets"]["B04"]["href"] = "gone.tif"
    with Faults(archive.folder).running() as url:
        assert build(archive, url, tmp_path / "out") == 0
    document = json.loads((tmp_path / "out/corpus.json").read_text())
    assert document["refused"] == {"asset_missing": 1}
