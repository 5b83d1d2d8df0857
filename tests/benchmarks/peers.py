"""How others read the same windows, each with the settings measured best for these files.

lazycogs, which reads through async-geotiff, is left out: its DuckDB fetches an extension first.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import odc.stac
import pandas as pd
import pystac
import rasterio
import rioxarray
from cogs import EPSG, dtype_of, size_of
from fakes import GDAL_SETTINGS
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import from_bounds

from s1s2.bands import Band
from s1s2.scene import Scene

Arrays = dict[Band, NDArray[Any]]
THREADS = 32


class Rasterio:
    """rasterio: a window of each file, all files of a chip at once."""

    name, module = "rasterio", "rasterio"
    layouts: tuple[str, ...] = ("15-bit", "predictor")

    def __init__(self, _: Sequence[Scene]) -> None:
        self.pool = ThreadPoolExecutor(THREADS)

    def read(self, scene: Scene, grids: Mapping[Band, GeoBox]) -> Arrays:
        def one(band: Band) -> NDArray[Any]:
            with rasterio.Env(**GDAL_SETTINGS):
                return self.window(f"/vsicurl/{scene.hrefs[band]}", grids[band])

        return dict(zip(grids, self.pool.map(one, grids), strict=True))

    def window(self, href: str, grid: GeoBox) -> NDArray[Any]:
        with rasterio.open(href, driver="GTiff") as file:
            return file.read(1, window=from_bounds(*grid.boundingbox, transform=file.transform))


class Rioxarray(Rasterio):
    """rioxarray, without the lock that it has by default, which lets one thread read."""

    name, module = "rioxarray", "rioxarray"
    layouts: tuple[str, ...] = ("15-bit", "predictor")

    def window(self, href: str, grid: GeoBox) -> NDArray[Any]:
        with rioxarray.open_rasterio(href, lock=False, driver="GTiff") as file:  # noqa: TID251  # a peer
            window = from_bounds(*grid.boundingbox, transform=file.rio.transform())
            return file.rio.isel_window(window.round()).to_numpy()[0]


def by_pixel_size(grids: Mapping[Band, GeoBox]) -> dict[int, list[Band]]:
    """Group bands as those need them who load one pixel size at a time."""
    return {gsd: [b for b in grids if b.gsd_m == gsd] for gsd in sorted({b.gsd_m for b in grids})}


def item_of(scene: Scene) -> pystac.Item:
    """Describe a scene as its catalog does, grids of all files included."""
    extensions = ("projection/v2.0.0", "raster/v1.1.0")
    item = pystac.Item(
        scene.id,
        {"type": "Point", "coordinates": [3, 45]},
        [2.9, 44.9, 3.1, 45.1],
        scene.sensed_at,
        {"proj:code": f"EPSG:{EPSG}", "proj:epsg": EPSG},
        stac_extensions=[f"https://stac-extensions.github.io/{e}/schema.json" for e in extensions],
    )
    for band, href in scene.hrefs.items():
        shape, (left, top) = size_of(band)
        own = {
            "proj:shape": list(shape),
            "proj:transform": [band.gsd_m, 0, left, 0, -band.gsd_m, top],
            "raster:bands": [{"data_type": dtype_of(band), "nodata": 0}],
        }
        cog = pystac.MediaType.COG
        item.add_asset(str(band), pystac.Asset(href, media_type=cog, extra_fields=own))
    return item


class OdcStac:
    """odc-stac: bands of one pixel size at a time, as it works."""

    name, module = "odc-stac", "odc.stac"
    layouts: tuple[str, ...] = ("15-bit", "predictor")

    def __init__(self, _: Sequence[Scene]) -> None:
        odc.stac.configure_rio(**GDAL_SETTINGS)

    def read(self, scene: Scene, grids: Mapping[Band, GeoBox]) -> Arrays:
        item, found = item_of(scene), {}
        for bands in by_pixel_size(grids).values():
            names, grid = [str(b) for b in bands], grids[bands[0]]
            loaded = odc.stac.load([item], bands=names, geobox=grid, pool=len(bands))
            found |= {band: loaded[str(band)].to_numpy()[0] for band in bands}
        return {band: found[band] for band in grids}


class Stackstac:
    """stackstac, on dask's threads."""

    name, module = "stackstac", "stackstac"
    layouts: tuple[str, ...] = ("15-bit", "predictor")

    def __init__(self, _: Sequence[Scene]) -> None:
        from stackstac import prepare  # of the extra
        from stackstac.rio_env import LayeredEnv

        self.env = LayeredEnv(always=GDAL_SETTINGS)
        prepare.pd = SimpleNamespace(**vars(pd) | {"to_datetime": _as_before_pandas_3})

    def read(self, scene: Scene, grids: Mapping[Band, GeoBox]) -> Arrays:
        import dask
        import stackstac

        item, found = item_of(scene).to_dict(), {}
        for gsd, bands in by_pixel_size(grids).items():
            loaded = stackstac.stack(
                [item],
                assets=[str(b) for b in bands],
                epsg=EPSG,
                resolution=gsd,
                bounds=tuple(grids[bands[0]].boundingbox),
                snap_bounds=False,
                chunksize=256,
                dtype=np.dtype("float32"),
                fill_value=np.float32(0),
                rescale=False,
                xy_coords=False,
                properties=False,
                band_coords=False,
                gdal_env=self.env,
            )
            with dask.config.set(scheduler="threads", num_workers=len(bands)):
                pixels = loaded.to_numpy()[0]
            found |= {b: pixels[n].astype(dtype_of(b)) for n, b in enumerate(bands)}
        return {band: found[band] for band in grids}


def _as_before_pandas_3(values: Any, *, infer_datetime_format: bool = True, **how: Any) -> Any:  # noqa: ANN401
    """Take an argument that pandas has no more, and stackstac 0.5.0 still gives."""
    del infer_datetime_format
    return pd.to_datetime(values, **how)


class AsyncGeotiff:
    """async-geotiff: all files of a chip at once, on one event loop of a thread of its own.

    It cannot read files of 15 bits.
    """

    name, module = "async-geotiff", "async_geotiff"
    layouts: tuple[str, ...] = ("predictor",)

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.loop = asyncio.new_event_loop()
        Thread(target=self.loop.run_forever, daemon=True).start()
        self.store = _store_of("/".join(scenes[0].hrefs[Band.SCL].split("/")[:3]))

    def read(self, scene: Scene, grids: Mapping[Band, GeoBox]) -> Arrays:
        return asyncio.run_coroutine_threadsafe(self._all(scene, grids), self.loop).result()

    async def _all(self, scene: Scene, grids: Mapping[Band, GeoBox]) -> Arrays:
        arrays = await asyncio.gather(*(self._one(scene.hrefs[b], g) for b, g in grids.items()))
        return dict(zip(grids, arrays, strict=True))

    async def _one(self, href: str, grid: GeoBox) -> NDArray[Any]:
        from async_geotiff import GeoTIFF, Window

        file = await GeoTIFF.open("/".join(href.split("/")[3:]), store=self.store)
        column, row = ~file.transform @ (grid.affine.c, grid.affine.f)
        height, width = grid.shape
        found = await file.read(window=Window(round(column), round(row), width, height))
        return np.asarray(found.data)[0]


def _store_of(host: str) -> Any:  # noqa: ANN401  # of a library without types
    from obstore.store import HTTPStore

    return HTTPStore.from_url(host, client_options={"allow_http": True})


PEERS = (Rasterio, Rioxarray, OdcStac, Stackstac, AsyncGeotiff)
