"""Small corpora for tests of whatever reads them: chips of noise in shards, or built of fakes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fakes import Scenes, lonlat, points_file

from s1s2 import layout, store
from s1s2.bands import OPTICAL, RADAR
from s1s2.cli import main
from s1s2.grid import GridSpec
from s1s2.layout import Folder
from s1s2.loader.chips import Said
from s1s2.loader.hosts import Source
from s1s2.loader.shards import described

SIZE = 64
STATISTICS = {str(b): {"mean": 900.0 + 7 * i, "std": 300.0 + i} for i, b in enumerate(OPTICAL)} | {
    str(b): {"mean": -1200.0, "std": 250.0} for b in RADAR
}


class Chipset:
    """Some chips on disk, and what they hold."""

    def __init__(self, root: Path, n: int, per_shard: int = 5, codec: layout.Codec = "lz4") -> None:
        self.folder, self.n, self.per_shard = Folder(root), n, per_shard
        self.plans = layout.arrays(GridSpec(SIZE), codec)
        rng = np.random.default_rng(7)
        store.create(self.folder, self.plans, n, per_shard, {})
        self.blocks: dict[str, np.ndarray] = {}
        for plan in self.plans:
            low = -3000 if plan.name == "s1" else 1
            high = 200 if plan.dtype == "uint8" else 60_000 if plan.dtype == "uint16" else 3000
            smooth = rng.integers(low, high, (n, *plan.tail))
            self.blocks[plan.name] = smooth.astype(plan.dtype)
        self.blocks["s2_10m"][1, 0, :3], self.blocks["s2_20m"][2, 4, 5] = 0, 0
        self.blocks["s1"][3, 1, 7] = -32768
        self.objects: dict[str, Any] = {}
        for shard in range(-(-n // per_shard)):
            self.write(shard)

    def write(self, shard: int) -> None:
        rows = slice(shard * self.per_shard, (shard + 1) * self.per_shard)
        blocks = {name: block[rows] for name, block in self.blocks.items()}
        self.objects |= store.write_shard(self.folder, self.plans, shard, blocks, self.per_shard)

    def path(self, array: str, shard: int) -> Path:
        (plan,) = (p for p in self.plans if p.name == array)
        return store.shard_path(self.folder, plan, shard)

    def metadata(self, array: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = json.loads(
            (self.folder.zarr / array / "zarr.json").read_text()
        )
        return document

    def said_of(self, shard: int) -> Said:
        return {
            name: (str(path), self.objects[path.relative_to(self.folder.root).as_posix()]["size"])
            for name in store.IMAGES
            for path in [self.path(name, shard)]
        }

    def source(self, *, direct: bool = True) -> Source:
        forms = [described(name, self.metadata(name)) for name in store.IMAGES]
        assert all(forms), "what the store writes is read directly"
        known = tuple(form for form in forms if form is not None) if direct else ()
        return Source(known, str(self.folder.root), self.per_shard, self.said_of)


def three_zones(root: Path, n: int, *, per_shard: int) -> None:
    """Build a corpus of at most 18 chips in three zones and two splits, at `root / "out"`."""
    scenes, places = Scenes(root / "catalog"), []
    for number, (epsg, tile) in enumerate([(32631, "31TFK"), (32633, "33TFK"), (32640, "40TFK")]):
        scenes.s2(epsg=epsg, tile=tile, size_m=12_000)
        scenes.s1(epsg=epsg, size_m=14_000, slice_number=number)
        places += [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, epsg) for i in range(6)]
    recipe = root / "recipe.toml"
    recipe.write_text(
        f"[store]\nchips_per_shard = {per_shard}\n[sample]\nval_percent = 30\ntest_percent = 0\n"
    )
    build = [
        *("build", str(recipe), "--catalog", str(scenes.save()), "-n", str(n)),
        *("--points", str(points_file(root / "p.geojson", places)), "--chip-size", "64"),
        *("--start", "2021-07-01", "--end", "2021-07-02", "-o", str(root / "out")),
    ]
    assert main(build) == 0
