"""Scenes with known pixels, and servers that answer as the real ones do.

Every pixel of a fake scene is a plain formula of its place and band (`optical_dn`, `radar_power`),
so what a corpus holds can be worked out again without any of the project's code.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
import shapely
from pyproj import Transformer
from rasterio.transform import from_origin
from shapely.geometry import box, mapping, shape

OPTICAL = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
GSD = {"B01": 60, "B09": 60, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "SCL": 20}
GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32_768,
    "CPL_VSIL_CURL_CACHE_SIZE": 200_000_000,
    "GDAL_CACHEMAX": 256,
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
}
"""How rasterio reads Planetary Computer's layout fastest, for those who compare with it."""
S2_COLLECTION, S1_COLLECTION = "sentinel-2-l2a", "sentinel-1-rtc"


def optical_dn(band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Surface, in digital numbers without offset, at pixel centres (metres)."""
    phase = OPTICAL.index(band) + 1
    wave = np.sin(x / 170.0 + phase) * np.cos(y / 230.0 - phase)
    return np.rint(1500 + 100 * phase + 900 * wave).astype(np.uint16)


def radar_power(band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gamma nought in linear power at pixel centres (metres); smooth, so resampling is exact."""
    level = 0.12 if band == "VV" else 0.03
    return (level * (1.5 + np.sin(x / 900.0) * np.cos(y / 1100.0))).astype(np.float32)


def centres(left: float, top: float, size: int, gsd: float) -> tuple[np.ndarray, np.ndarray]:
    steps = (np.arange(size) + 0.5) * gsd
    return np.meshgrid(left + steps, top - steps)


def write_tif(
    path: Path, data: np.ndarray, left: float, top: float, gsd: float, epsg: int, **options: object
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "width": data.shape[1],
        "height": data.shape[0],
        "count": 1,
        "dtype": data.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": from_origin(left, top, gsd, gsd),
        "compress": "deflate",
        **options,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(data, 1)


def footprint_of(left: float, top: float, size_m: float, epsg: int) -> dict[str, Any]:
    square = box(left, top - size_m, left + size_m, top).segmentize(size_m / 8)
    turn = Transformer.from_crs(epsg, 4326, always_xy=True)
    return mapping(shapely.transform(square, lambda xy: np.column_stack(turn.transform(*xy.T))))


@dataclass
class Scenes:
    """A folder of fake scenes and their items, in Planetary Computer's shape."""

    folder: Path
    items: list[dict[str, Any]] = field(default_factory=list)

    def s2(
        self,
        *,
        epsg: int = 32631,
        left: float = 499_980,
        top: float = 5_000_040,
        size_m: int = 6_000,
        when: str = "2021-07-01T10:50:31.024Z",
        baseline: str = "03.01",
        tile: str = "31TFK",
        cloud: float = 3.0,
        scl: Callable[[np.ndarray], None] | None = None,
        edit: Callable[[str, np.ndarray], np.ndarray] | None = None,
        datastrip: str = "",
        generation: str = "2021-07-01T20:00:00.000Z",
        suffix: str = "tif",
        tif: dict | None = None,
        geometry: dict | None = None,
    ) -> dict[str, Any]:
        offset = 1000 if float(baseline) >= 4 else 0
        stamp = when[:19].replace("-", "").replace(":", "")
        made = generation[:19].replace("-", "").replace(":", "")
        identity = f"S2B_MSIL2A_{stamp}_R051_T{tile}_{made}"
        assets = {}
        for band in [*OPTICAL, "SCL"]:
            gsd = GSD.get(band, 20)
            size = size_m // gsd
            x, y = centres(left, top, size, gsd)
            if band == "SCL":
                data = np.full((size, size), 4, dtype=np.uint8)
                if scl:
                    scl(data)
            else:
                data = optical_dn(band, x, y) + np.uint16(offset)
            if edit:
                data = edit(band, data)
            path = self.folder / identity / f"T{tile}_{band}_{gsd}m.{suffix}"
            write_tif(path, data, left, top, gsd, epsg, **(tif or {}))
            assets[band] = {
                "href": path.relative_to(self.folder).as_posix(),
                "proj:shape": [size, size],
                "proj:transform": [gsd, 0.0, left, 0.0, -gsd, top],
            }
        item = self._item(
            identity, S2_COLLECTION, assets, geometry or footprint_of(left, top, size_m, epsg)
        )
        item["properties"] = {
            "datetime": when,
            "platform": "Sentinel-2B",
            "proj:epsg": epsg,
            "eo:cloud_cover": cloud,
            "s2:mgrs_tile": tile,
            "s2:processing_baseline": baseline,
            "s2:datatake_id": f"GS2B_{stamp}_012345_N{baseline}",
            "s2:datastrip_id": datastrip,
            "s2:generation_time": generation,
            "s2:product_type": "S2MSI2A",
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 51,
        }
        return item

    def s1(
        self,
        *,
        epsg: int = 32631,
        left: float = 499_000,
        top: float = 5_001_000,
        size_m: int = 8_000,
        when: str = "2021-07-01T17:30:00Z",
        polarisations: tuple = ("VV", "VH"),
        edit: Callable[[str, np.ndarray], np.ndarray] | None = None,
        slice_number: int = 1,
        geometry: dict | None = None,
        formula_epsg: int | None = None,
    ) -> dict[str, Any]:
        stamp = when[:19].replace("-", "").replace(":", "")
        identity = f"S1A_IW_GRDH_1SDV_{stamp}_{slice_number:06d}_rtc"
        size, assets = size_m // 10, {}
        x, y = centres(left, top, size, 10)
        if formula_epsg:
            xs, ys = rasterio.warp.transform(
                f"EPSG:{epsg}", f"EPSG:{formula_epsg}", x.ravel(), y.ravel()
            )
            x, y = np.reshape(xs, x.shape), np.reshape(ys, y.shape)
        for band in polarisations:
            data = radar_power(band, x, y)
            if edit:
                data = edit(band, data)
            path = self.folder / identity / f"iw-{band.lower()}.rtc.tiff"
            write_tif(path, data.astype(np.float32), left, top, 10, epsg, nodata=-32768)
            assets[band.lower()] = {"href": path.relative_to(self.folder).as_posix()}
        item = self._item(
            identity, S1_COLLECTION, assets, geometry or footprint_of(left, top, size_m, epsg)
        )
        item["properties"] = {
            "datetime": when,
            "platform": "SENTINEL-1A",
            "proj:epsg": epsg,
            "start_datetime": f"{when[:17]}{slice_number:02d}.220006+00:00".replace("T", " "),
            "end_datetime": when.replace("T", " ").replace("Z", ".920006+00:00"),
            "sar:instrument_mode": "IW",
            "sar:polarizations": list(polarisations),
            "sat:orbit_state": "ascending",
            "sat:relative_orbit": 59,
        }
        return item

    def _item(self, identity: str, collection: str, assets: dict, geometry: dict) -> dict[str, Any]:
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": identity,
            "collection": collection,
            "geometry": geometry,
            "bbox": list(shape(geometry).bounds),
            "links": [],
            "stac_extensions": [],
            "assets": assets,
            "properties": {},
        }
        self.items.append(item)
        return item

    def save(self) -> Path:
        path = self.folder / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": self.items}))
        return path


def points_file(path: Path, places: list[tuple[float, float]]) -> Path:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": list(p)}}
        for p in places
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def lonlat(x: float, y: float, epsg: int) -> tuple[float, float]:
    lon, lat = rasterio.warp.transform(f"EPSG:{epsg}", "EPSG:4326", [x], [y])
    return lon[0], lat[0]


@dataclass
class StacServer:
    """A STAC API on loopback: POST search with pages by token, and faults on demand."""

    items: list[dict[str, Any]]
    page: int = 2
    faults: list[int] = field(default_factory=list)
    """Status codes to answer the first searches with; 200 is an answer."""
    loop: bool = False
    """Send the first page for ever."""
    body: bytes | None = None
    """Send this instead of JSON."""
    searches: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, query: dict[str, Any]) -> dict[str, Any]:
        begins, ends = (t.replace("Z", "") for t in query["datetime"].split("/"))
        area = shape(query["intersects"])
        found = [
            i
            for i in self.items
            if i["collection"] in query["collections"]
            and begins <= i["properties"]["datetime"].replace("Z", "") <= ends
            and shape(i["geometry"]).intersects(area)
        ]
        start = 0 if self.loop else int(query.get("token", "0"))
        more = self.loop or start + self.page < len(found)
        answer = {
            "type": "FeatureCollection",
            "features": found[start : start + self.page],
            "links": [],
        }
        if more:
            answer["links"] = [
                {
                    "rel": "next",
                    "method": "POST",
                    "href": f"{self.url}/search",
                    "type": "application/geo+json",
                    "body": {**query, "token": str(start + self.page)},
                }
            ]
        return answer

    @contextmanager
    def running(self) -> Iterator["StacServer"]:
        stac = self

        class Handler(_Quiet):
            def do_GET(self) -> None:
                self.reply(
                    200,
                    {
                        "type": "Catalog",
                        "id": "fake",
                        "description": "fake",
                        "stac_version": "1.0.0",
                        "conformsTo": [
                            "https://api.stacspec.org/v1.0.0/core",
                            "https://api.stacspec.org/v1.0.0/item-search",
                        ],
                        "links": [
                            {"rel": "self", "href": stac.url, "type": "application/json"},
                            {"rel": "root", "href": stac.url, "type": "application/json"},
                            {
                                "rel": "search",
                                "href": f"{stac.url}/search",
                                "method": "POST",
                                "type": "application/geo+json",
                            },
                        ],
                    },
                )

            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stac.searches.append(query)
                if (fault := stac.faults.pop(0) if stac.faults else 200) != 200:
                    self.reply(fault, {"code": "busy"})
                elif stac.body is not None:
                    self.send(200, stac.body)
                else:
                    self.reply(200, stac.answer(query))

        with serving(Handler) as url:
            self.url = url
            yield self


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, document: dict[str, Any]) -> None:
        self.send(status, json.dumps(document).encode())

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serve files with HTTP ranges, as blob storage does."""

    class Handler(_Quiet):
        def do_HEAD(self) -> None:
            self.give(body=False)

        def do_GET(self) -> None:
            self.give(body=True)

        def give(self, *, body: bool) -> None:
            path = folder / self.path.split("?")[0].lstrip("/")
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content, status = path.read_bytes(), 200
            total, start = len(content), 0
            if wanted := self.headers.get("Range"):
                first, last = wanted.removeprefix("bytes=").split("-")
                start, status = int(first), 206
                content = content[start : int(last) + 1 if last else None]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Accept-Ranges", "bytes")
            if status == 206:
                end = start + len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
            self.end_headers()
            if body:
                self.wfile.write(content)

    with serving(Handler) as url:
        yield url
