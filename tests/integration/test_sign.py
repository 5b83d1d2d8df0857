"""Signing: just before reading, one token for all, nothing signed kept."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from fakes import Scenes, _Quiet, lonlat, points_file, serving

from s1s2.cli import main

CODE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from s1s2.sign import signer_for
from s1s2.recipe import load_catalog
sign = signer_for(load_catalog("planetary-computer"))
hrefs = [f"https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/{i}.tif" for i in range(40)]
with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(sign, hrefs))))
"""


def token_service(status: int = 200) -> tuple[type[BaseHTTPRequestHandler], list[str]]:
    asked: list[str] = []

    class Handler(_Quiet):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.reply(
                status, {"msft:expiry": "2099-01-01T00:00:00Z", "token": "se=2099&sig=CANARY"}
            )

    return Handler, asked


def test_one_token_serves_all_threads(tmp_path: Path) -> None:
    handler, asked = token_service()
    with serving(handler) as url:
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            capture_output=True,
            text=True,
            check=True,
            env={"PC_SDK_SAS_URL": url, "HOME": str(tmp_path), "PATH": ""},
        )
    signed = json.loads(done.stdout)
    assert all(href.endswith("?se=2099&sig=CANARY") for href in signed)
    assert asked == ["/sentinel2l2a01/sentinel2-l2"]


def test_nothing_signed_is_written_or_printed(scenes: Scenes, tmp_path: Path) -> None:
    """A build whose every signed read fails: no file and no line holds the token."""
    scenes.s2()
    scenes.s1()
    for item in scenes.items:
        for key, asset in item["assets"].items():
            asset["href"] = f"https://sentinel2l2a01.blob.core.windows.net/c/{key}.tif"
    catalog = tmp_path / "signed.toml"
    text = Path("catalogs/planetary-computer.toml").read_text()
    line = 'endpoint = "https://planetarycomputer.microsoft.com/api/stac/v1"'
    catalog.write_text(text.replace(line, f'items = "{scenes.save()}"'))
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    out = tmp_path / "out"
    handler, asked = token_service()
    with serving(handler) as url:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "s1s2", "build", "--debug", "--catalog", str(catalog)),
                *("--points", str(points), "--start", "2021-07-01", "--end", "2021-07-02"),
                *("--chip-size", "128", "-o", str(out)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PC_SDK_SAS_URL": url,
                "HOME": str(tmp_path),
                "PATH": "",
                "GDAL_HTTP_MAX_RETRY": "0",
                "https_proxy": "http://127.0.0.1:9",
            },
        )
    assert asked, "a token was fetched"
    assert done.returncode == 3, done.stderr
    assert "cannot be read now" in done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    written = [p for p in out.rglob("*") if p.is_file()]
    assert written
    assert not [p for p in written if b"CANARY" in p.read_bytes()]
    assert main(["match", "-o", str(out)]) == 0, "what was there goes on"
