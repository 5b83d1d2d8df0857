"""The small corpus that is built over and over: six chips of 64 px in three shards."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from s1s2 import Corpus
from s1s2.serving import ADDRESS
from torture.launch import Ended, Order, run
from torture.served import served
from torture.strikes import Strike
from torture.truth import Truth, content, rows_of

SIZE_PX, N_CHIPS = 64, 6
_WEST, _SOUTH, _EAST, _NORTH = 1.0, 47.9, 2.0, 48.6
_RECIPE = """
name = "torture"
catalog = "sandbox"
[sample]
within = "{region}"
[search]
start = 2019-08-01
end = 2019-08-16
[match]
max_scene_cloud_fraction = 1.0
max_candidates = 2
[grid]
size_px = {size}
[chip]
max_cloud_fraction = 1.0
max_shadow_fraction = 1.0
[store]
chips_per_shard = {per_shard}
"""


@dataclass(frozen=True)
class Ground:
    """Where the small corpus is built from."""

    recipe: Path
    address: str
    """Of the sandbox."""
    n: int = N_CHIPS

    def build(  # what may be done to a build
        self,
        folder: Path,
        *flags: str,
        strike: Strike | None = None,
        before: Callable[[], None] | None = None,
        address: str = "",
        report: bool = False,
    ) -> Order:
        """Return the order to build it into a folder."""
        line = ("build", str(self.recipe), "-n", str(self.n), "-o", str(folder))
        line = (*line, *(() if report else ("--no-report",)), *flags)
        return Order(line, folder, {ADDRESS: address or self.address}, strike, before)

    def repair(self, folder: Path) -> Order:
        """Return the order to repair it."""
        return Order(("verify", str(folder), "--repair"), folder, {ADDRESS: self.address})


@contextmanager
def prepared(home: Path, *, size_px: int = SIZE_PX, n: int = N_CHIPS) -> Iterator[Ground]:
    """Write recipe and region into a folder, and serve the sandbox."""
    region = home / "region.geojson"
    ring = [[_WEST, _SOUTH], [_EAST, _SOUTH], [_EAST, _NORTH], [_WEST, _NORTH], [_WEST, _SOUTH]]
    region.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    recipe = home / "recipe.toml"
    recipe.write_text(_RECIPE.format(region=region, size=size_px, per_shard=n // 3))
    with served() as address:
        yield Ground(recipe, address, n)


def built(ground: Ground, folder: Path, before: Callable[[], None] | None = None) -> Ended:
    """Build undisturbed, which must work."""
    ended = run(ground.build(folder, before=before))
    assert ended.code == 0, ended.said
    return ended


def truth_of(ground: Ground, folder: Path, before: Callable[[], None] | None = None) -> Truth:
    """Build undisturbed, twice: once for the sandbox to render, once to take the time."""
    built(ground, folder.with_name(f"{folder.name}-first"), before)
    seconds = built(ground, folder, before).seconds
    return Truth(folder, content(folder), rows_of(Corpus(folder)), seconds)
