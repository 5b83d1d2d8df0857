"""Signing: just before reading, one token for all, nothing signed kept."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fakes import Scenes, _Quiet, lonlat, points_file, serving

from s1s2 import sign as sign_module
from s1s2.cli import main
from s1s2.errors import CatalogError, UnreachableError

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
            asset["href"] = f"https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/{key}.tif"
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


def flaky_service(broken: list[bytes]) -> type[BaseHTTPRequestHandler]:
    """Return a service that first gives these bodies, each said to be longer than it is."""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            if not broken:
                self.reply(200, {"msft:expiry": "2099-01-01T00:00:00Z", "token": "se=2099&sig=A"})
                return
            body = broken.pop()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + (body == b"{")))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

    return Handler


def test_a_token_that_comes_broken_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off, HTML, or without a token in it: none of that is the service's last word."""
    monkeypatch.setattr(sign_module, "_WAITS_S", (0.0, 0.0, 0.0))
    with serving(flaky_service([b"{", b"<html>", b"{}"])) as url:
        token = sign_module._token("account", "broken", url)
        assert token == "se=2099&sig=A"  # noqa: S105
    with (
        serving(flaky_service([b"{}"] * 4)) as url,
        pytest.raises(UnreachableError, match="run the same command again"),
    ):
        sign_module._token("account", "hopeless", url)


def test_a_token_that_is_refused_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_module, "_WAITS_S", ())
    handler, asked = token_service(404)
    with serving(handler) as url, pytest.raises(CatalogError, match="did not answer as expected"):
        sign_module._token("account", "nowhere", url)
    assert len(asked) == 1


def test_a_token_service_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Handler(_Quiet):
        def do_GET(self) -> None:
            ended.wait(20)

    monkeypatch.setattr(sign_module, "_PATIENCE_S", 0.2)
    with serving(Handler) as url:
        monkeypatch.setenv("PC_SDK_SAS_URL", url)
        with pytest.raises(UnreachableError, match=r"no token .*\(Timeout\).* go on"):
            sign_module._token("hangs", "container", url)
        ended.set()
