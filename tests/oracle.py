"""What a corpus cut from the sandbox must hold: a second implementation, plain and slow.

A simulated pixel is a function of scene, place, day and seed. Here it is worked out for any list of
pixel centres, one rule after the other, in plain numpy: no blocks, nothing compiled, nothing kept.
Of the package only tables are used (spectra, wavelengths, the land mask), the scenes, and keys
and projection; nothing that computes a pixel.

Numbers must come out equal to the last bit, so every step is taken in the precision in which the
package takes it: degrees, unit vectors and lattices of noise in float64, all that is made of them
in float32 (numpy converts numbers written out to an array's precision).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from scipy.special import gammaincinv

from s1s2.bands import OPTICAL, S2_10M, S2_20M, Band
from s1s2.grid import to_lonlat, to_utm
from s1s2.land import land_mask
from s1s2.sandbox import covers, planet, rows, sky
from s1s2.sandbox import optical as optical_tables
from s1s2.sandbox import settle as districts
from s1s2.sandbox.covers import Cover
from s1s2.sandbox.noise import EARTH_M, key_of
from s1s2.sandbox.scenes import S2_TILE_M, Edge, OpticalScene, RadarScene

Array = NDArray[Any]
Waves = tuple[tuple[float, float], ...]

# --- hashes and noise ---------------------------------------------------------------------------


def _words(values: Array | int) -> Array:
    """Cut whole numbers to 32 bits."""
    return np.asarray(np.asarray(values, dtype=np.int64) & 0xFFFFFFFF, dtype=np.uint32)


def _mix(h: Array) -> Array:
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x7FEB352D)
    h = h ^ (h >> np.uint32(15))
    h = h * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


def hash_of(i: Array, j: Array, key: Array | int) -> Array:
    """Hash two whole numbers and a key to 32 bits."""
    a, b = _words(i) * np.uint32(0x8DA6B343), _words(j) * np.uint32(0xD8163841)
    return _mix((a + b) ^ _words(key))


def _fade(t: Array) -> Array:
    """Ease from 0 to 1; like the rest of the noise in single precision, in this very order."""
    return t * t * t * (t * (t * np.float32(6) - np.float32(15)) + np.float32(10))


def noise(place: Array, wavelength_m: float, key: int) -> Array:
    """Gradient noise at unit vectors, shape (3, n): eight corners, eased in between."""
    lattice = place * (EARTH_M / wavelength_m)
    cell = np.floor(lattice)
    x, y, z = (lattice - cell).astype(np.float32)
    i, j, k = cell.astype(np.int64)
    middle = np.float32(511.5) * (x + y + z)

    def corner(di: int, dj: int, dk: int) -> Array:
        h = _words(i + di) * np.uint32(0x8DA6B343)
        h = h ^ (_words(j + dj) * np.uint32(0xD8163841))
        h = _mix(h ^ (_words(k + dk) * np.uint32(0xCB1AB31F)) ^ _words(key))
        bits = ((h >> np.uint32(s)) & np.uint32(1023) for s in (0, 10, 20))
        gx, gy, gz = (b.astype(np.float32) for b in bits)
        dot = gx * (x - np.float32(di)) + gy * (y - np.float32(dj)) + gz * (z - np.float32(dk))
        # gradients are of mean 0
        return dot - (middle - np.float32(511.5 * (di + dj + dk)))

    def along_x(dj: int, dk: int) -> Array:
        a, b = corner(0, dj, dk), corner(1, dj, dk)
        return a + _fade(x) * (b - a)

    def along_y(dk: int) -> Array:
        a, b = along_x(0, dk), along_x(1, dk)
        return a + _fade(y) * (b - a)

    a, b = along_y(0), along_y(1)
    return (a + _fade(z) * (b - a)) * np.float32(1 / 512)


def octaves(place: Array, waves: Waves, *keys: int) -> Array:
    """Sum octaves of noise at unit vectors, shape (3, n); float32."""
    total = np.zeros(place.shape[1], np.float32)
    for (wavelength, amplitude), key in zip(waves, keys, strict=True):
        total = total + np.float32(amplitude) * noise(place, wavelength, key)
    return total


# --- the net of nodes ---------------------------------------------------------------------------

Lattice = Callable[[Array, Array], Array]
"""Takes rows (counted southward) and columns of nodes, returns fields, shape (fields, n)."""


def each_once(work: Lattice, row: Array, column: Array) -> Array:
    """Evaluate at nodes, shape (..., n), each distinct one once; shape (fields, ..., n)."""
    nodes, which = np.unique(row * 2**32 + (column + 2**31), return_inverse=True)
    return work(nodes // 2**32, nodes % 2**32 - 2**31)[:, which.reshape(row.shape)]


def around(row: Array, column: Array, *steps: tuple[int, int]) -> tuple[Array, Array]:
    """Return the nodes that lie some steps (down, along) from others, shape (steps, n)."""
    down, along = np.array(steps).T
    return row + down[:, np.newaxis], column + along[:, np.newaxis]


def between(work: Lattice, row: Array, column: Array, down: Array, along: Array) -> Array:
    """Interpolate between the four nodes around places: first along, then down.

    In the precision of the nodes.
    """
    nodes = around(row, column, (0, 0), (1, 0), (0, 1), (1, 1))
    nw, sw, ne, se = each_once(work, *nodes).swapaxes(0, 1)
    down, along = down.astype(nw.dtype), along.astype(nw.dtype)
    north, south = nw + along * (ne - nw), sw + along * (se - sw)
    return north + down * (south - north)


@dataclass(frozen=True)
class Zone:
    """The net of one UTM zone for pixels of one size."""

    epsg: int
    gsd: float

    @property
    def node_m(self) -> float:
        """Spacing of fine nodes; coarse ones are four times as far apart."""
        return 40.0 if self.gsd <= 20 else 4 * self.gsd

    def degrees(self, row: Array, column: Array) -> Array:
        """Return longitude (continuous within the zone) and latitude of coarse nodes."""
        step = 4 * self.node_m
        lon, lat = to_lonlat(column * step, -row * step, self.epsg)
        off = lon - ((self.epsg % 100) * 6 - 183)
        return np.stack([lon - np.where(off > 180, 360, 0) + np.where(off < -180, 360, 0), lat])

    def unit_vectors(self, row: Array, column: Array) -> Array:
        """Return unit vectors of coarse nodes."""
        return on_sphere(*self.degrees(row, column))

    def refined(self, work: Lattice, row: Array, column: Array) -> Array:
        """Interpolate fields of coarse nodes at fine nodes."""
        return between(work, row // 4, column // 4, (row % 4) * 0.25, (column % 4) * 0.25)

    def at(self, work: Lattice, x: Array, y: Array) -> Array:
        """Interpolate fields of fine nodes at places."""
        return self._at(work, x, y, self.node_m)

    def at_coarse(self, work: Lattice, x: Array, y: Array) -> Array:
        """Interpolate fields of coarse nodes at places."""
        return self._at(work, x, y, 4 * self.node_m)

    @staticmethod
    def _at(work: Lattice, x: Array, y: Array, step: float) -> Array:
        row, column = np.floor(-y / step), np.floor(x / step)
        down, along = (-y - row * step) / step, (x - column * step) / step
        nodes = row.astype(np.int64), column.astype(np.int64)
        return between(work, *nodes, down, along)


def on_sphere(lon: Array, lat: Array) -> Array:
    """Return unit vectors of places in degrees."""
    east, north = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])


# --- the ground ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fields:
    """What varies slowly, at pixels, float32."""

    shore: Array
    height: Array
    wet: Array
    river: Array
    stream: Array
    lake: Array
    woods: Array
    farms: Array
    warp_e: Array
    warp_n: Array
    slow: Array
    texture: Array
    east: Array
    """Rise per metre towards east."""
    north: Array
    """Rise per metre towards north."""


@dataclass(frozen=True)
class Climate:
    """What follows from the fields and the day, at pixels, float32."""

    mean: Array
    """Temperature of the year."""
    now: Array
    """Temperature of the day."""
    swing: Array
    """1 in midsummer, -1 in midwinter."""
    moist: Array
    growing: Array
    steep: Array
    """Slope squared."""
    fertile: Array


@dataclass(frozen=True)
class Ground:
    """What lies at pixels."""

    cover: Array
    green: Array
    """0 to 255."""
    tone: Array
    east: Array
    north: Array


def wave_keys(seed: int, field: int, waves: Waves) -> list[int]:
    """Return the key of each octave of a field."""
    return [key_of(seed, "field", field, n) for n in range(len(waves))]


def _shore(lon: Array, lat: Array) -> Array:
    """Return the share of land, bilinear between the centres of the mask's cells, less a half."""
    x, y = lon * 120 - 0.5, lat * 120 - 0.5
    i, j = np.floor(x), np.floor(y)
    u, v = x - i, y - j

    def land(di: int, dj: int) -> Array:
        return land_mask()((i + di + 0.5) / 120, (j + dj + 0.5) / 120).astype(np.float64)

    south = (1 - u) * land(0, 0) + u * land(1, 0)
    north = (1 - u) * land(0, 1) + u * land(1, 1)
    return (1 - v) * south + v * north - 0.5


def fields_at(zone: Zone, x: Array, y: Array, seed: int) -> Fields:
    """Interpolate what varies slowly."""

    def coarse(row: Array, column: Array) -> Array:
        """Every field of `Fields` up to the texture, then the steepness."""
        lon, lat = zone.degrees(row, column)
        place = on_sphere(lon, lat)
        values = np.zeros((13, len(row)), np.float32)
        for field, waves in planet.COARSE_WAVES.items():
            values[field] = octaves(place, waves, *wave_keys(seed, field, waves))
        values[planet.SHORE] += _shore(lon, lat).astype(np.float32)
        wetness = np.interp(np.abs(lat), planet.LATITUDES, planet.WETNESS)
        values[planet.WET] += wetness.astype(np.float32)
        mountains = octaves(place, (planet.MOUNTAINS,), key_of(seed, "mountains"))
        steepness = np.clip(mountains + 0.1, 0.02, 1.0)
        keys = wave_keys(seed, planet.HEIGHT, planet.RELIEF)
        values[planet.HEIGHT] = steepness * octaves(place, planet.RELIEF, *keys)
        values[12] = steepness
        return values

    def with_relief(row: Array, column: Array) -> Array:
        """Add fine relief."""
        values = zone.refined(coarse, row, column)
        place = zone.refined(zone.unit_vectors, row, column)
        keys = wave_keys(seed, -planet.HEIGHT, planet.FINE_RELIEF)
        values[planet.HEIGHT] += values[12] * octaves(place, planet.FINE_RELIEF, *keys)
        return values

    def fine(row: Array, column: Array) -> Array:
        nodes = around(row, column, (0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
        both = each_once(with_relief, *nodes)
        values, place = both[:, 0], zone.refined(zone.unit_vectors, row, column)
        for field, waves in planet.FINE_WAVES.items():
            values[field] += octaves(place, waves, *wave_keys(seed, -field, waves))
        west, east, above, below = both[planet.HEIGHT, 1:]
        values[planet.HEIGHT] += 150.0 + 1_500.0 * (values[12] - 0.02)
        rise = (east - west) / (2 * zone.node_m), (above - below) / (2 * zone.node_m)
        return np.concatenate([values[:12], rise])

    there = zone.at(fine, x, y)
    smooth = list(rows.COARSE)
    there[smooth] = zone.at_coarse(coarse, x, y)[smooth]
    return Fields(*there)


def climate_of(f: Fields, lat: Array, day: int) -> Climate:
    """Work out temperatures, moisture, growth and how good the land is."""
    summer = np.float32(np.cos(2 * np.pi * (day - 205) / 365.25))
    swing = np.where(lat > 0, summer, -summer)
    north = np.abs(lat)
    mean = 28.0 - 0.6 * np.maximum(north - 12.0, 0.0) - 0.0065 * f.height
    now = mean + 0.3 * north * swing + 2.0 * f.slow
    steep = f.east * f.east + f.north * f.north
    moist = np.clip((f.wet - 0.1) * 1.6, 0.0, 1.0)
    growing = np.clip((now - 2.0) * 0.07, 0.0, 1.0)
    fertile = 0.55 - np.abs(f.wet - 0.5) * 1.1 + 0.9 * f.farms
    fertile = fertile + np.minimum(mean - 3.0, 0.0) * 0.15
    bad = (mean <= 0.0) | (f.wet <= 0.22) | (steep >= 0.0324)
    fertile = np.where(bad, np.float32(-1.0), fertile)
    return Climate(mean, now, swing, moist, growing, steep, fertile)


@dataclass
class Rules:
    """What is known of pixels so far; a later rule overdistricts."""

    kind: Array
    lush: Array
    free: Array
    """True where people may live."""

    def say(self, where: Array, kind: Cover, lush: Array | None = None) -> None:
        """Something grows or lies there."""
        self.kind = np.where(where, kind, self.kind)
        self.lush = self.lush if lush is None else np.where(where, lush, self.lush)

    def insist(self, where: Array, kind: Cover, lush: Array | None = None) -> None:
        """Something lies there, and nobody can live on it."""
        self.say(where, kind, lush)
        self.free = self.free & ~where


def nature(f: Fields, c: Climate) -> Rules:
    """Say what lies there where nobody is."""
    r = Rules(
        np.full(f.wet.shape, Cover.GRASS, dtype=np.int64),
        c.growing * c.moist * (0.75 + 0.35 * c.swing),
        np.ones(f.wet.shape, dtype=bool),
    )
    # plants
    wooded = f.wet - 0.42 + 0.6 * f.woods
    r.say(wooded > -0.1, Cover.SHRUB, c.growing * c.moist * 1.2)
    r.say((f.wet > 0.6) & (c.steep < 0.0004) & (f.slow < -0.22), Cover.WETLAND, c.growing)
    leafy = np.where(c.mean < 20.0, c.growing, 0.75 + 0.25 * c.moist)
    wood = wooded > 0.06
    r.say(wood, Cover.BROADLEAF, leafy * (0.4 + 0.6 * c.moist))
    cool = c.mean < 4.5 + 4.0 * f.slow + 3.0 * f.woods
    r.say(wood & cool, Cover.CONIFER, 0.4 + 0.6 * c.growing)
    # deserts and cold
    dry = f.wet < 0.06 + 0.06 * f.woods
    r.say(dry, Cover.SAND)
    r.say(dry & (f.woods < -0.38), Cover.GRAVEL)
    r.say(dry & ((c.steep > 0.01) | (f.woods > 0.42)), Cover.ROCK)
    cold = c.mean < -6.5 + 3.0 * f.slow + f.woods
    r.say(cold, Cover.TUNDRA, c.growing * (0.4 + 0.6 * c.moist))
    r.say(cold & ((f.wet < 0.12) | (f.woods > 0.5)), Cover.ROCK)
    # rock, rivers
    wall = 0.5 + 0.2 * f.woods
    high = 3600.0 + 53.0 * (c.mean - c.now) + 200.0 * f.woods
    r.insist((c.steep > wall * wall) | (f.height > high), Cover.ROCK)
    river, stream = np.abs(f.river), np.abs(f.stream)
    width = 0.0012 + 0.0034 * c.moist
    bank = 0.9 - 0.25 * f.woods
    near = (river < 1.6 * width * bank) | (stream < 0.0075 * bank)
    near = near & (f.wet > 0.15) & (c.mean > -4.0) & (c.steep < 0.09)
    r.insist(near, Cover.BROADLEAF, c.growing * (0.5 + 0.5 * c.moist))
    r.insist((stream < 0.0019) & (c.steep < 0.09) & (f.wet > 0.22), Cover.RIVER)
    flow = (river < width) & (c.steep < 0.04)
    r.insist(flow, Cover.RIVER)
    r.insist(flow & (f.wet < 0.18) & (river > 0.3 * width), Cover.GRAVEL)
    # lakes, snow, sea
    north = (28.0 - 0.0065 * f.height - c.mean) * (1.0 / 0.6) + 12.0
    boreal = np.maximum(0.0, 1.0 - np.abs(north - 62.0) * 0.07)
    level = 0.72 - 0.36 * boreal + 0.5 * np.maximum(0.0, 0.4 - f.wet)
    r.insist((c.steep < 0.0144) & (f.lake > level), Cover.LAKE)
    for_ever = c.mean + 0.16 * north + 4.0 * f.slow < -3.0
    r.insist(for_ever | ((c.now < -2.0) & (f.wet > 0.15)), Cover.SNOW)
    r.insist(f.shore < 0.0, Cover.SEA)
    return r


@dataclass(frozen=True)
class Home:
    """Where pixels lie in their districts, float32."""

    district: Array
    """Hash, 32 bits."""
    pu: Array
    """Metres from the district's middle along its fields."""
    pv: Array
    """Metres across them."""
    away: Array
    """Metres from the middle, squared."""
    edge: Array
    """Districts' sides to the next border."""


def home_of(lon: Array, lat: Array, warp_e: Array, warp_n: Array, seed: int) -> Home:
    """Find the district of places: rows of equal latitude, their borders wiggled."""
    degrees, metres_high = districts.DISTRICT_DEGREES, districts.DISTRICT_M
    below, y = _parts(lat * (1 / degrees))
    along = y + warp_n * (1 / metres_high)
    row = below + np.floor(along)
    parallel = np.cos(np.radians((row + 0.5) * degrees))
    count = np.maximum(1, np.floor(360 * parallel / degrees))
    metres_wide = (metres_high * parallel).astype(np.float32)
    before, x = _parts(lon * (count / 360.0))
    across = x + warp_e / metres_wide
    district = hash_of((before + np.floor(across)) % count, row, key_of(seed, "districts"))
    du = (x - np.floor(across) - 0.5) * metres_wide
    dv = (y - np.floor(along) - 0.5) * metres_high
    turn = np.pi * np.arange(16) / 16
    sine, cosine = (f(turn).astype(np.float32)[district & 15] for f in (np.sin, np.cos))
    # how much of a district's side there is to the border before, and to the one behind
    left, up = across - np.floor(across), along - np.floor(along)
    return Home(
        district,
        du * cosine + dv * sine,
        dv * cosine - du * sine,
        du * du + dv * dv,
        np.minimum.reduce([left, 1.0 - left, up, 1.0 - up]),
    )


def _parts(values: Array) -> tuple[Array, Array]:
    """Split numbers into what is whole, and what is left, float32."""
    whole = np.floor(values)
    return whole, (values - whole).astype(np.float32)


def _byte(h: Array, shift: int) -> Array:
    return ((h >> np.uint32(shift)) & np.uint32(255)).astype(np.float32) * np.float32(1 / 255)


Settled = tuple[Array, Array, Array]
"""Cover, how green (0 to 1, float32), and brightness of the parcel (float32)."""


def _towns(h: Home, growing: Array, seed: int) -> Settled:
    """Lots of 32 m; every fourth row of them, and every fifth the other way, has a street."""
    street = h.pu - 128.0 * np.floor(h.pu * (1 / 128)) < 12.0
    street |= h.pv - 160.0 * np.floor(h.pv * (1 / 160)) < 12.0
    house = hash_of(np.floor(h.pu * (1 / 32)), np.floor(h.pv * (1 / 32)), key_of(seed, "parcels"))
    share, shade = _byte(house, 0), _byte(house, 8) - 0.5
    roof, tree, garden = share < 0.5, share < 0.66, share < 0.85
    cases = [street, roof, tree, garden]
    kind = np.select(cases, [Cover.STREET, Cover.ROOF, Cover.BROADLEAF, Cover.MEADOW], Cover.STREET)
    lush = np.select(cases, [0.0, 0.0, growing, growing], 0.0)
    tone = np.select(cases, [0.0, 0.5 * shade, 0.0, 0.1 * shade], 0.3 * shade)
    return kind, lush.astype(np.float32), tone.astype(np.float32)


def _fields(h: Home, lat: Array, growing: Array, moist: Array, day: int, seed: int) -> Settled:
    """Strips of parcels, each with a crop; hedges between them in some districts."""
    wide = districts.WIDTHS[(h.district >> np.uint32(4)) & 7]
    long = districts.LENGTHS[(h.district >> np.uint32(7)) & 7]
    pu = h.pu / wide
    i = np.floor(pu)
    pv = h.pv / long + (i % 4) * 0.37
    j = np.floor(pv)
    parcel = hash_of(i, j, np.int64(key_of(seed, "parcels")) ^ h.district.astype(np.int64))
    road = h.edge < 0.0014
    hedged = (h.district >> np.uint32(10)) & 3 == 0
    hedge = hedged & (np.minimum((pu - i) * wide, (pv - j) * 400.0) < 9.0)
    crop, shade, late = (_byte(parcel, shift) for shift in (0, 8, 16))
    today = day - (late - 0.5) * 40.0
    winter = np.where(lat > 0, np.float32(0.0), np.float32(182.6))
    water = 0.45 + 0.55 * moist
    cases = [road, hedge, crop < 0.34, crop < 0.58, crop < 0.74, crop < 0.9]
    kinds = [Cover.STREET, Cover.BROADLEAF, Cover.WHEAT, Cover.MAIZE, Cover.SOY, Cover.MEADOW]
    greens = [
        0.0,
        growing * (0.5 + 0.5 * moist),
        water * _peak(today - 145.0 - winter, 5.3e-5),
        water * _peak(today - 215.0 - winter, 6.4e-5),
        water * _peak(today - 225.0 - winter, 9.1e-5),
        growing * water,
    ]
    tone = np.where(road | hedge, 0.0, (shade - 0.5) * 0.28)
    lush = np.select(cases, greens, 0.0)
    return np.select(cases, kinds, Cover.FALLOW), lush.astype(np.float32), tone.astype(np.float32)


def _peak(away: Array, width: float) -> Array:
    """Return how green a crop is some days from its best one."""
    away = np.where(away > 182.6, away - 365.25, away)
    away = np.where(away < -182.6, away + 365.25, away)
    near = 1.0 - away * away * width
    return np.where(near > 0.0, near * near, 0.0)


def settle(
    r: Rules, f: Fields, c: Climate, where: tuple[Array, Array], day: int, seed: int
) -> Array:
    """Put towns and fields where people live; return how bright each parcel is, float32."""
    lon, lat = where
    tone = np.zeros(lon.shape, dtype=np.float32)
    some = np.flatnonzero(r.free & (c.fertile > 0.1))
    lat, growing, moist, fertile, steep, woods, slow = (
        a[some] for a in (lat, c.growing, c.moist, c.fertile, c.steep, f.woods, f.slow)
    )
    h = home_of(lon[some], lat, f.warp_e[some], f.warp_n[some], seed)
    lot = ((h.district >> np.uint32(12)) & 255).astype(np.float32)
    radius = np.where(lot < 9, 700.0 + 250.0 * lot, 130.0 + 4.0 * lot)
    reach = radius * (1.0 - 0.5 * woods - 0.25 * slow)
    town = (lot < 70) & (reach > 0.0) & (h.away < reach * reach)
    field = ~town & (fertile > 0.2) & (woods < 0.36) & (steep < 0.0144)
    for there, settled in (
        (town, _towns(h, growing, seed)),
        (field, _fields(h, lat, growing, moist, day, seed)),
    ):
        for all_of_them, new in zip((r.kind, r.lush, tone), settled, strict=True):
            all_of_them[some[there]] = new[there]
    return tone


def ground(zone: Zone, x: Array, y: Array, day: int, seed: int) -> Ground:
    """Say what lies at pixels.

    Args:
        zone: The net of their zone.
        x: Eastings of their centres, shape (n,).
        y: Northings of them.
        day: Of the year, 1 to 366.
        seed: The planet's.
    """
    slow = fields_at(zone, x, y, seed)
    lon, lat = zone.at_coarse(zone.degrees, x, y)
    # whole pixels from the zone's origin
    column, row = np.floor(x / zone.gsd - 0.5), np.floor(-y / zone.gsd - 0.5)
    h = hash_of(column, row, key_of(seed, zone.epsg, "grain"))
    grain = (h >> np.uint32(8)).astype(np.float32) * (2 / 2**24) - 1
    values = vars(slow) | {"woods": slow.woods + (0.3 * slow.texture + 0.07 * grain)}
    f = Fields(**values)
    c = climate_of(f, lat.astype(np.float32), day)
    r = nature(f, c)
    tone = settle(r, f, c, (lon, lat), day, seed)
    table = covers.grain().astype(np.float32)
    rough = 0.6 * f.slow + 0.7 * f.texture
    tone = tone + (table[r.kind, 0] * rough + table[r.kind, 1] * grain)
    green = (255 * np.clip(r.lush, 0, 1)).astype(np.uint8)
    return Ground(r.kind, green, _parts_of(1 + tone), _parts_of(f.east), _parts_of(f.north))


def _parts_of(values: Array) -> Array:
    """Cut numbers to whole parts, 8192 of them to 1."""
    return (values * 8192).astype(np.int32).astype(np.float32) / 8192


# --- the sky ------------------------------------------------------------------------------------


def sky_at(zone: Zone, scene: OpticalScene, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the clouds' opacity at pixels, and how much of the sun they cover, 0 to 255."""
    take = scene.datatake
    low, high = sky.CLOUD_TOP_M
    top = low + (high - low) * key_of(take, "cloud top") / 2**32
    away = min(top * np.tan(np.radians(scene.sun_zenith)), 4_500.0)
    n_coarse, n_fine = len(sky.COARSE_WAVES), len(sky.FINE_WAVES)
    keys = [key_of(take, "cloud", n) for n in range(n_coarse + n_fine)]
    day = scene.sensed_at.timetuple().tm_yday

    def level(row: Array, column: Array) -> Array:
        """Return by how much the field of clouds is lifted."""
        lon, lat = zone.degrees(row, column)
        summer = 0.5 - 0.5 * np.cos(2 * np.pi * (day - 15) / 365.25)
        mean = (1 - summer) * np.interp(lat, sky._LATITUDES, sky._JANUARY)
        mean = mean + summer * np.interp(lat, sky._LATITUDES, sky._JULY)
        weather = octaves(on_sphere(lon, lat), ((700_000.0, 1.0),), key_of(take, "weather"))
        odds = np.log(mean / (1 - mean)) + 12.0 * weather.astype(np.float64)
        cover = 1 / (1 + np.exp(-odds))
        lifted = 0.29 * np.log(cover / (1 - cover)) / 1.702 + 0.4 * 0.12
        return lifted.astype(np.float32)

    def moved(place: Array, metres: float) -> Array:
        """Move unit vectors towards the sun."""
        a, b, c = place
        out = np.sqrt(a * a + b * b)
        east = metres * np.sin(np.radians(scene.sun_azimuth)) / EARTH_M
        north = metres * np.cos(np.radians(scene.sun_azimuth)) / EARTH_M
        return np.stack(
            [
                a - east * b / out - north * c * a / out,
                b + east * a / out - north * c * b / out,
                c + north * out,
            ]
        )

    def seen(metres: float) -> Array:
        def towards(row: Array, column: Array) -> Array:
            return moved(zone.unit_vectors(row, column), metres)

        def coarse(row: Array, column: Array) -> Array:
            place = towards(row, column)
            values = level(row, column) + octaves(place, sky.COARSE_WAVES, *keys[:n_coarse])
            return values[np.newaxis]

        def fine(row: Array, column: Array) -> Array:
            place = zone.refined(towards, row, column)
            values = octaves(place, sky.FINE_WAVES, *keys[n_coarse:])
            return zone.refined(coarse, row, column) + values

        field = zone.at(fine, x, y)[0]
        return (255.0 * np.clip((1 / 0.12) * field, 0.0, 1.0)).astype(np.uint8)

    return seen(0.0), seen(away)


# --- what the sensors see -----------------------------------------------------------------------


def beyond(edges: tuple[Edge, ...], x: Array, y: Array) -> Array:
    """Say which places a swath does not reach."""
    out = np.zeros(x.shape, dtype=bool)
    for edge in edges:
        out |= edge.a * x + (edge.b * y + edge.c) < 0
    return out


def pixel_of(
    scene: OpticalScene | RadarScene, gsd: float, x: Array, y: Array
) -> tuple[Array, Array]:
    """Return column and row in the file."""
    column, row = np.floor((x - scene.left) / gsd), np.floor((scene.top - y) / gsd)
    return column.astype(np.int64), row.astype(np.int64)


class Optical:
    """What one Sentinel-2 scene shows at pixels of one size.

    Args:
        scene: Which one.
        x: Eastings of the pixels' centres, metres, any shape.
        y: Northings of them.
        gsd: Side of a pixel, metres.
        seed: The planet's.
    """

    def __init__(self, scene: OpticalScene, x: Array, y: Array, gsd: float, seed: int) -> None:
        self._scene, self._gsd, self._shape = scene, gsd, x.shape
        self._x, self._y = x.ravel(), y.ravel()
        zone = Zone(scene.epsg, gsd)
        day = scene.sensed_at.timetuple().tm_yday
        self._ground = ground(zone, self._x, self._y, day, seed)
        self._cloud, self._shadow = sky_at(zone, scene, self._x, self._y)
        self._light = self._sunlight()
        column, row = pixel_of(scene, gsd, self._x, self._y)
        size = -(-S2_TILE_M // gsd)
        self._none = beyond(scene.edges, self._x, self._y)
        self._none |= (column < 0) | (row < 0) | (column >= size) | (row >= size)
        self._pixel = column, row

    def _sunlight(self) -> Array:
        """Return the light on the slopes relative to level ground."""
        zenith = np.radians(min(self._scene.sun_zenith, 75.0))
        azimuth = np.radians(self._scene.sun_azimuth)
        sx, sy = np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth)
        sx, sy, sz = (np.float32(s) for s in (sx, sy, np.cos(zenith)))
        e, n = self._ground.east, self._ground.north
        return (sz - sx * e - sy * n) / (sz * np.sqrt(1.0 + e * e + n * n))

    def numbers(self, band: Band) -> Array:
        """Return a band's numbers as in the file, uint16, 0 where there are none."""
        b, scene, seen = OPTICAL.index(band), self._scene, self._ground
        dry, lush = covers.reflectance()[:, :, b][:, seen.cover]
        v = (dry + seen.green / 255 * (lush - dry)).astype(np.float32)
        gain = seen.tone * (0.3 + 0.7 * np.clip(self._light, 0.1, 2.0))
        haze = optical_tables.HAZE[b] * key_of(scene.datatake, "haze") / 2**32
        v = v * _parts_of(gain) + np.float32(haze)
        v = v * (1.0 - 0.0025 * self._shadow.astype(np.float32))
        white = np.float32(optical_tables.CLOUD[b])
        v = v + self._cloud.astype(np.float32) * (1 / 255) * (white - v)
        column, row = self._pixel
        h = hash_of(column, row, key_of(scene.recording, band.value))
        grain = ((h & 65535) + (h >> np.uint32(16))).astype(np.float32) * (1 / 65535) - 1.0
        v = v + grain * (np.float32(optical_tables.NOISE[b]) + 0.006 * v)
        out = np.clip(v + 0.5, 1.0, 32_767.0 - scene.offset).astype(np.uint16) + scene.offset
        return np.where(self._none, 0, out).astype(np.uint16).reshape(self._shape)

    def scl(self) -> Array:
        """Return the codes of the scene classification, uint8."""
        cover = self._ground.cover
        red, infrared = (OPTICAL.index(b) for b in (Band.B04, Band.B08))
        dry, lush = covers.reflectance()[:, cover][..., [red, infrared]]
        both = dry + (self._ground.green / 255)[:, np.newaxis] * (lush - dry)
        index = (both[:, 1] - both[:, 0]) / (both[:, 1] + both[:, 0])
        code = np.where(index > 0.4, 4, 5)
        code = np.where(self._light < 0.35, 2, code)
        code = np.where(np.isin(cover, (Cover.SEA, Cover.LAKE, Cover.RIVER)), 6, code)
        code = np.where(cover == Cover.SNOW, 11, code)
        code = np.where(self._shadow >= 115, 3, code)
        for least, name in ((38, 10), (115, 8), (190, 9)):
            code = np.where(self._cloud >= least, name, code)
        return np.where(self._none, 0, code).astype(np.uint8).reshape(self._shape)


def optical(
    scene: OpticalScene, band: Band, x: Array, y: Array, seed: int, gsd: float | None = None
) -> Array:
    """Return a band's numbers as in the file at pixels' centres, uint16 (SCL: uint8)."""
    seen = Optical(scene, x, y, gsd or band.gsd_m, seed)
    return seen.scl() if band is Band.SCL else seen.numbers(band)


class Radar:
    """What one Sentinel-1 scene shows at pixels of one size; arguments as for `Optical`."""

    def __init__(self, scene: RadarScene, x: Array, y: Array, seed: int, gsd: float = 10.0) -> None:
        self._scene, self._gsd, self._shape = scene, gsd, x.shape
        x, y = x.ravel(), y.ravel()
        day = scene.starts.timetuple().tm_yday
        self._ground = ground(Zone(scene.epsg, gsd), x, y, day, seed)
        near = scene.edges[0]
        self._range_m = near.a * x + near.b * y + near.c
        self._pixel = pixel_of(scene, gsd, x, y)
        column, row = self._pixel
        ratio = gsd / 10
        self._none = beyond(scene.edges, x, y) | (column < 0) | (row < 0)
        self._none |= (column >= -(-scene.width // ratio)) | (row >= -(-scene.height // ratio))

    def power(self, band: Band) -> Array:
        """Return gamma nought in linear power, float32, -32768 where there is none."""
        scene, seen, vh = self._scene, self._ground, band is Band.VH
        table = covers.backscatter()
        soil = (key_of(scene.datatake, "soil") / 2**32 - 0.5) * 1.2
        wind = key_of(scene.datatake, "wind") / 2**32 - 0.5
        weather = np.full(len(Cover), soil)
        weather[Cover.SEA], weather[Cover.LAKE], weather[Cover.RIVER] = 9 * wind, 5 * wind, 4 * wind
        dry, lush = table[seen.cover, 2 * vh], table[seen.cover, 2 * vh + 1]
        level = (dry + seen.green / 255 * (lush - dry) + weather[seen.cover]).astype(np.float32)
        fall = (table[:, 4] * (table[:, 5] if vh else 1.0)).astype(np.float32)[seen.cover]
        part = np.clip(self._range_m.astype(np.float32) * (1 / 255_000.0), 0.0, 1.0)
        level = level + fall * (part - 0.5)
        nearest, farthest = (float(np.tan(np.radians(d))) for d in (30.7, 46.0))
        tangent = nearest + (farthest - nearest) * part
        east, north = (np.float32(a) for a in scene.look)
        facing = east * seen.east + north * seen.north
        lifted = level + np.where(facing > tangent, np.float32(5.0), 3.5 * facing)
        level = np.where(facing * tangent < -1.0, np.float32(-27.0), lifted)
        step = ((np.clip(level, -45.0, 45.0) + 45.0) * 100.0).astype(np.int64)
        v = (10 ** ((np.arange(9001) / 100 - 45) / 10)).astype(np.float32)[step]
        v = v * np.clip(1.0 + 0.8 * (seen.tone - 1.0), 0.3, 2.0)
        column, row = self._pixel
        h = hash_of(column, row, key_of(scene.recording, band.value))
        values = gammaincinv(4.5, (np.arange(4096) + 0.5) / 4096)
        v = v * (values / values.mean()).astype(np.float32)[h >> np.uint32(20)]
        return np.where(self._none, np.float32(-32_768.0), v).reshape(self._shape)


def radar(scene: RadarScene, band: Band, x: Array, y: Array, seed: int, gsd: float = 10) -> Array:
    """Return gamma nought at pixels' centres in linear power, float32."""
    return Radar(scene, x, y, seed, gsd).power(band)


# --- what a chip of them holds ------------------------------------------------------------------


def centres(left: float, top: float, gsd: float, width: int, height: int) -> tuple[Array, Array]:
    """Return eastings and northings of pixels' centres, each of shape (height, width)."""
    x, y = left + (np.arange(width) + 0.5) * gsd, top - (np.arange(height) + 0.5) * gsd
    xs, ys = np.meshgrid(x, y)
    return xs, ys


def without_offset(dn: Array, offset: int) -> Array:
    """Take off what was added to numbers; what is valid stays valid."""
    moved = np.maximum(dn.astype(np.int64) - offset, 1)
    return np.where(dn == 0, 0, moved).astype(np.uint16)


def counts(power: Array) -> Array:
    """Turn linear power into hundredths of a dB; invalid becomes -32768."""
    valid = np.isfinite(power) & (power > 0)
    decibels = 10 * np.log10(np.where(valid, power, 1).astype(np.float64))
    return np.where(valid, np.rint(decibels / 0.01), -32_768).astype(np.int16)


def _warped(scene: RadarScene, row: Mapping[str, Any], size: int, seed: int) -> list[Array]:
    """Resample radar of another zone onto a chip: GDAL's bilinear, of linear power."""
    left, top = row["transform"][2], row["transform"][5]
    corner_x, corner_y = centres(left, top, 10, size, size)
    rim = np.ones((size, size), dtype=bool)
    rim[1:-1, 1:-1] = False
    lon, lat = to_lonlat(corner_x[rim], corner_y[rim], int(row["epsg"]))
    x, y = to_utm(lon, lat, scene.epsg)
    halo = 400
    first_x = max(scene.left, np.floor(x.min() / 10) * 10 - halo)
    first_y = min(scene.top, np.ceil(y.max() / 10) * 10 + halo)
    last_x = min(scene.left + 10 * scene.width, x.max() + halo)
    last_y = max(scene.top - 10 * scene.height, y.min() - halo)
    width, height = int((last_x - first_x) // 10), int((first_y - last_y) // 10)
    seen = Radar(scene, *centres(first_x, first_y, 10, width, height), seed)
    warped = []
    for band in (Band.VV, Band.VH):
        power = seen.power(band)
        target = np.full((size, size), np.nan, dtype=np.float32)
        reproject(
            np.where(power > 0, power, np.float32(np.nan)),
            target,
            src_transform=(10.0, 0.0, first_x, 0.0, -10.0, first_y),
            src_crs=f"EPSG:{scene.epsg}",
            src_nodata=np.nan,
            dst_transform=tuple(row["transform"]),
            dst_crs=f"EPSG:{row['epsg']}",
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            XSCALE=1,
            YSCALE=1,
        )
        warped.append(target)
    return warped


def chip(
    row: Mapping[str, Any], s2: OpticalScene, s1: RadarScene, size: int, seed: int
) -> dict[str, Array]:
    """Return what a corpus must hold of one chip, by array.

    Radar of another zone than the chip's is worked out on its own grid and resampled by GDAL.

    Args:
        row: The chip's row in the index: `epsg` and `transform` are used.
        s2: Its optical scene.
        s1: Its radar scene.
        size: Side of a chip in 10 m pixels.
        seed: The planet's.
    """
    left, top, half, coarse = row["transform"][2], row["transform"][5], size // 2, -(-size // 6)
    seen = {
        gsd: Optical(s2, *centres(left, top, gsd, n, n), gsd, seed)
        for gsd, n in ((10, size), (20, half), (60, coarse))
    }

    def band_of(band: Band) -> Array:
        dn = without_offset(seen[band.gsd_m].numbers(band), s2.offset)
        return dn.repeat(3, 0).repeat(3, 1)[:half, :half] if band.gsd_m == 60 else dn

    if s1.epsg == row["epsg"]:
        own = Radar(s1, *centres(left, top, 10, size, size), seed)
        power = [own.power(Band.VV), own.power(Band.VH)]
    else:
        power = _warped(s1, row, size, seed)
    return {
        "s2_10m": np.stack([band_of(b) for b in S2_10M]),
        "s2_20m": np.stack([band_of(b) for b in S2_20M]),
        "s1": np.stack([counts(p) for p in power]),
        "scl": seen[20].scl(),
    }


def wrong(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> dict[str, int]:
    """Count the pixels that differ, by array; all of an array of another shape or type."""
    return {
        name: int((found[name] != values).sum())
        if (found[name].shape, found[name].dtype) == (values.shape, values.dtype)
        else values.size
        for name, values in wanted.items()
    }
