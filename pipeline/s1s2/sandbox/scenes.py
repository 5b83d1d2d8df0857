"""The words of the simulated archive: scenes, and where in them there are pixels."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from shapely.geometry import Polygon

from s1s2.radiometry import baseline_offset

S2_COLLECTION, S1_COLLECTION = "sentinel-2-l2a", "sentinel-1-rtc"
COVER_COLLECTION = "sandbox-land-cover"
COVER_BEGINS, COVER_ENDS = (datetime(year, 1, 1, tzinfo=UTC) for year in (2015, 2030))
"""From when until when the known land cover holds."""
S2_TILE_M = 109_800
"""Side of a Sentinel-2 tile."""


@dataclass(frozen=True)
class Edge:
    """A straight edge of a swath in UTM metres; data lie where `a x + b y + c >= 0`.

    (a, b) is of length 1, so that the left side is the distance from the edge in metres.
    """

    a: float
    b: float
    c: float


@dataclass(frozen=True)
class OpticalScene:
    """One Sentinel-2 tile of one datatake, in one processing version."""

    id: str
    """Item id, as Planetary Computer's: the product id without its `Nxxxx` part."""
    tile: str
    """MGRS tile, `32VNJ`."""
    epsg: int
    left: float
    """Easting of the upper left corner of the files, metres."""
    top: float
    """Northing of it."""
    platform: str
    """`S2A`, `S2B` or `S2C`."""
    relative_orbit: int
    datatake_starts: datetime
    """What Planetary Computer gives as `datetime`."""
    sensed_at: datetime
    """When the tile's datastrip starts."""
    generated_at: datetime
    baseline: str
    """Processing baseline, `02.12`."""
    edges: tuple[Edge, ...]
    """Edges of the swath that cross the tile; none where it is full."""
    footprint: Polygon = field(compare=False)
    """The data's outline in degrees, continuous over the antimeridian (beyond 180)."""
    sun_azimuth: float
    """Degrees clockwise from north, at the tile's centre."""
    sun_zenith: float
    """Degrees, at the tile's centre."""
    cloud_fraction: float
    """Expected share of cloud over the data."""
    valid_fraction: float
    """Share of the tile that has data."""
    datatake: int
    """Key of the datatake, 32 bits: clouds go on over the borders of its tiles."""
    recording: int
    """Key of tile and datatake, 32 bits: reprocessed versions have the same noise."""

    @property
    def offset(self) -> int:
        """What was added to the numbers in the files: 1000 from baseline 04.00 on."""
        return -baseline_offset(self.baseline)


@dataclass(frozen=True)
class RadarScene:
    """One slice of a Sentinel-1 datatake, as radiometrically terrain corrected gamma nought."""

    id: str
    """Item id, as Planetary Computer's: `..._rtc`."""
    epsg: int
    left: float
    """Easting of the upper left corner of the files, metres: a multiple of 10."""
    top: float
    width: int
    """Pixels of 10 m."""
    height: int
    platform: str
    """`S1A`, `S1B` or `S1C`."""
    relative_orbit: int
    absolute_orbit: int
    orbit_state: str
    """`ascending` or `descending`."""
    starts: datetime
    ends: datetime
    slice_number: int
    total_slices: int
    polarisations: tuple[str, ...]
    """`("VV", "VH")` or `("HH", "HV")`."""
    edges: tuple[Edge, ...]
    """Four edges: near range, far range, start, end; the first measures the distance from near
    range in metres."""
    footprint: Polygon = field(compare=False)
    """The data's outline in degrees, continuous over the antimeridian."""
    look: tuple[float, float]
    """Unit vector in UTM (east, north) along which the radar looks over the ground."""
    datatake: int
    """Key of the datatake, 32 bits."""
    recording: int
    """Key of the slice, 32 bits: the seed of its speckle."""


@dataclass(frozen=True)
class CoverTile:
    """The known land cover of one Sentinel-2 tile: the truth that the scenes' pixels are made of.

    Its file lies on the 10 m grid of the tile's scenes.
    """

    id: str
    tile: str
    """MGRS tile, `32VNJ`."""
    epsg: int
    left: float
    """Easting of the upper left corner of the file, metres."""
    top: float
    footprint: Polygon = field(compare=False)
    """The tile's outline in degrees, continuous over the antimeridian."""
