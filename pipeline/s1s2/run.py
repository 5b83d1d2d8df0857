"""One corpus being built: where, what, from whom, how many; and whether that may be."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from s1s2 import __version__, layout, places, recipe, sent, tables
from s1s2.bands import Sensor
from s1s2.catalog import Catalog
from s1s2.errors import RecipeError, StoreError
from s1s2.files import write_bytes
from s1s2.layout import Folder
from s1s2.recipe import Recipe
from s1s2.remote import Place

Say = Callable[[str], None]
SOURCES = "s1s2:sources"
"""Note in the points table of what a corpus was begun with."""
TAKEN = "s1s2:taken"
"""Note there of what a corpus was taken from, if it was: another corpus, and how it was chosen."""


def _silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Run:
    """One corpus being built."""

    folder: Folder
    recipe: Recipe
    catalogs: Mapping[Sensor, Catalog]
    n: int
    """Chips wanted."""
    say: Say = field(default=_silent, compare=False)
    """Told one line of each stage."""
    to: str = ""
    """URL that pixels are to go to; empty where the folder says that, or they stay in it."""

    @property
    def url(self) -> str:
        """URL that its pixels go to; empty if they stay.

        Raises:
            RecipeError: If the folder's pixels go to another one already.
        """
        return sent.url_of(self.folder, self.to)

    @property
    def slots(self) -> dict[int, int]:
        """Chips wanted in each shard."""
        return layout.shard_slots(self.n, self.recipe.store)


def chips_wanted(wanted: Recipe, n: int | None) -> int:
    """Return N, checked; with own points and no N, one chip for each point.

    Raises:
        RecipeError: If N is not given or less than 1.
    """
    if n is None:
        if not wanted.sample.points:
            msg = "how many chips? give -n N"
            raise RecipeError(msg)
        n = len(places.read_places(Path(wanted.sample.points)))
    if n < 1:
        msg = f"N = {n}: expected the number of chips wanted, 1 or more"
        raise RecipeError(msg)
    return n


def open_run(
    out: Path,
    wanted: Recipe,
    n: int | None,
    allow_hosts: tuple[str, ...] = (),
    say: Say = _silent,
) -> Run:
    """Check that a folder may hold this corpus; nothing is written.

    Args:
        out: The corpus' folder: new, empty, or begun with the same recipe.
        wanted: The recipe.
        n: Chips wanted; None for as many as the folder was begun with, or as there are own points.
        allow_hosts: Further hosts that pixels may be read from.
        say: Told one line of each stage.

    Raises:
        RecipeError: If the folder holds another recipe's corpus, or more chips than asked for.
        StoreError: If it holds anything else.
        CatalogError: If a catalog cannot be loaded.
    """
    folder = Folder(out)
    _check_folder(folder, wanted)
    begun = begun_with(folder)
    n = chips_wanted(wanted, begun or None if n is None else n)
    run = Run(folder, wanted, recipe.catalogs_of(wanted, allow_hosts), n, say)
    _check_sources(run)
    if n < begun:
        msg = (
            f"{out} was begun with N = {begun}, asked for {n}: ask for that many or more, or build "
            "into another folder"
        )
        raise RecipeError(msg)
    if begun not in {0, n} and wanted.sample.points and len(run.slots) > 1:
        msg = (
            f"{out}: own points are shared out among its shards; build N = {n} into another folder"
        )
        raise RecipeError(msg)
    return run


def bound_for(run: Run, to: str) -> Run:
    """Note where pixels are to go, before anything is begun.

    Args:
        run: The corpus.
        to: A URL; empty for where the folder says, or nowhere.

    Raises:
        RecipeError: If it cannot be one, obstore is missing, or the pixels go to another already.
    """
    if to:
        Place(to)
    bound = replace(run, to=to)
    if bound.url:
        Place(bound.url)
    return bound


def sources(run: Run) -> dict[str, str]:
    """Return what the files behind a recipe hold, by hash: own points, region, both catalogs."""
    files = {"points": run.recipe.sample.points, "within": run.recipe.sample.within}
    found = {
        f"sample.{key}": hashlib.sha256(Path(name).read_bytes()).hexdigest()
        for key, name in files.items()
        if name and Path(name).is_file()
    }
    keys = {f"{s}_catalog": c.search_key.encode() for s, c in run.catalogs.items()}
    return found | {key: hashlib.sha256(text).hexdigest() for key, text in keys.items()}


def _check_sources(run: Run) -> None:
    """Refuse to go on with a corpus whose points, region or catalog have changed since."""
    before = json.loads(tables.notes_of(run.folder.points).get(SOURCES, "{}"))
    now = sources(run)
    changed = [key for key, value in before.items() if now.get(key, value) != value]
    if changed:
        msg = (
            f"{run.folder.root} was begun with other content of {', '.join(changed)}; put back "
            "what it was, or build into another folder"
        )
        raise RecipeError(msg)


def _check_folder(folder: Folder, wanted: Recipe) -> None:
    root = folder.root
    if folder.recipe.exists():
        there = recipe.read_recipe(folder.recipe, {})
        if differing := recipe.differences(there, wanted):
            begun = any(folder.receipts.glob("*.json"))
            other = "build into another"
            if not begun:
                other = "it has no chips yet: delete it, or name another"
            msg = (
                f"{root} holds another recipe's corpus: {' · '.join(differing)}; use the same "
                f"recipe, or {other} folder"
            )
            raise RecipeError(msg)
    elif root.exists() and (not root.is_dir() or any(map(_is_foreign, root.iterdir()))):
        msg = f"{root} holds other things than a corpus; build into a new or empty folder"
        raise StoreError(msg)


def _is_foreign(path: Path) -> bool:
    """Say whether a file is none that a build leaves which was killed at its very beginning."""
    return path.name != ".leases" and not (path.name[0] == "." and path.suffix == ".partial")


def begun_with(folder: Folder) -> int:
    """Return the N a folder was begun with; 0 for a new one."""
    return int(tables.notes_of(folder.points).get("s1s2:n", 0))


def require_own(run: Run) -> None:
    """Make sure that a corpus' chips come from its own points.

    Raises:
        RecipeError: If they were taken from another corpus: there is nothing to build on.
    """
    if TAKEN in tables.notes_of(run.folder.points):
        msg = (
            f"{run.folder.root} holds chips taken from another corpus; pull others into another "
            "folder, or build into one"
        )
        raise RecipeError(msg)


def begin(run: Run) -> None:
    """Write the resolved recipe, so that the folder is this corpus from now on."""
    if not run.folder.recipe.exists():
        write_bytes(run.folder.recipe, recipe.to_toml(run.recipe).encode())


def about(run: Run) -> dict[str, Any]:
    """Return what a corpus says of itself: name, recipe, catalogs, simulated, taken from where."""
    simulated = any(c.simulated for c in run.catalogs.values())
    taken = tables.notes_of(run.folder.points).get(TAKEN)
    return ({"taken": json.loads(taken)} if taken else {}) | {
        "name": f"{run.recipe.name} (SIMULATED DATA)" if simulated else run.recipe.name,
        "recipe_sha256": recipe.fingerprint(run.recipe),
        "s1s2_version": __version__,
        "simulated": simulated,
        "catalogs": {
            str(sensor): {
                "name": c.name,
                "title": c.title,
                "collection": c.product(sensor).collection,
                "licence": c.licence,
                "offset": c.s2.offset if sensor is Sensor.S2 else "none",
            }
            for sensor, c in run.catalogs.items()
        },
    }
