"""One's own points and regions, from any vector file. The door to files that users bring."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
from shapely.geometry.base import BaseGeometry

from s1s2.errors import RecipeError


def read_places(path: Path) -> pd.DataFrame:
    """Read one's own points: any vector file of Points, GeoParquet, or CSV with lon and lat.

    Returns:
        Columns `lon`, `lat` in degrees, WGS 84, in the file's order.

    Raises:
        RecipeError: If the file cannot be read or holds anything but points on Earth.
    """
    if not path.is_file():
        msg = f"points file {path}: there is no such file"
        raise RecipeError(msg)
    try:
        places = _places_csv(path) if path.suffix.lower() == ".csv" else _places_vector(path)
    except (OSError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        if isinstance(error, RecipeError):
            raise
        msg = f"points file {path}: cannot be read ({error})"
        raise RecipeError(msg) from error
    lon, lat = places["lon"], places["lat"]
    bad = np.flatnonzero(~((lon.abs() <= 180) & (lat.abs() <= 90)))  # noqa: PLR2004  # degrees
    if len(bad):
        row = int(bad[0])
        msg = (
            f"points file {path}: row {row} is {lon[row]}, {lat[row]}: expected lon, lat in degrees"
        )
        raise RecipeError(msg)
    if not len(places):
        msg = f"points file {path}: holds no points"
        raise RecipeError(msg)
    return places


def _places_csv(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    if not {"lon", "lat"} <= set(table.columns):
        msg = f"points file {path}: columns {', '.join(table.columns)}; expected lon and lat"
        raise RecipeError(msg)
    return table[["lon", "lat"]].astype(float)


def _places_vector(path: Path) -> pd.DataFrame:
    parquet = path.suffix.lower() in (".parquet", ".geoparquet")
    frame = geopandas.read_parquet(path) if parquet else geopandas.read_file(path)
    frame = frame.to_crs(4326) if frame.crs is not None else frame
    kinds = set(frame.geometry.geom_type)
    if kinds - {"Point"}:
        found = ", ".join(sorted(str(k) for k in kinds))
        msg = f"points file {path}: holds {found}; expected Point geometries only (take centroids)"
        raise RecipeError(msg)
    return pd.DataFrame({"lon": frame.geometry.x, "lat": frame.geometry.y})


def read_region(path: Path) -> BaseGeometry:
    """Read the polygons of any vector file as one geometry in degrees, WGS 84.

    Raises:
        RecipeError: If the file cannot be read or holds no area.
    """
    try:
        frame = geopandas.read_file(path)
        region: BaseGeometry = (frame.to_crs(4326) if frame.crs else frame).geometry.union_all()
    except (OSError, ValueError, RuntimeError) as error:
        msg = f"region {path}: cannot be read ({error})"
        raise RecipeError(msg) from error
    if region.area == 0:
        msg = f"region {path}: holds no polygon"
        raise RecipeError(msg)
    return region
