"""The one file that decides what a corpus is, and the files that describe catalogs, validated.

The door to pydantic: recipes and catalogs come in as TOML and leave as frozen dataclasses.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from s1s2 import catalog as catalog_words
from s1s2.bands import Sensor
from s1s2.batch import Batch
from s1s2.catalog import ITEMS_SUFFIXES, Catalog
from s1s2.chip import ChipRules
from s1s2.errors import CatalogError, RecipeError
from s1s2.grid import GridSpec
from s1s2.layout import StoreSpec
from s1s2.match import MatchRules
from s1s2.sample import SampleSpec
from s1s2.search import SearchSpec


class Recipe(BaseModel):
    """Everything that decides what a corpus is; how and where it is built is no part of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "default"
    """What the corpus is called."""
    seed: int = 0
    """Another seed, other points."""
    catalog: str = ""
    """Name or path of the catalog; the command line may name it instead."""
    s1_catalog: str = ""
    """Another catalog for Sentinel-1; empty: the same."""
    sample: SampleSpec = SampleSpec()
    search: SearchSpec = SearchSpec()
    match: MatchRules = MatchRules()
    grid: GridSpec = GridSpec()
    chip: ChipRules = ChipRules()
    store: StoreSpec = StoreSpec()


def default_text() -> str:
    """Return the default recipe as commented TOML."""
    return files("s1s2").joinpath("recipes/default.toml").read_text("utf-8")


def read_recipe(path: str | Path | None, changes: Mapping[str, Any]) -> Recipe:
    """Read a recipe and change some of its values.

    Args:
        path: A TOML file; None for the default recipe.
        changes: Values by dotted key (`match.max_lag_hours`); None means unchanged.

    Raises:
        RecipeError: If the file cannot be read or a key or value is not known.
    """
    where = str(path or "the default recipe")
    document = read_toml(Path(path), "recipe") if path else {}
    for key in ("points", "within"):
        section = document.get("sample") if path else None
        value = section.get(key) if isinstance(section, dict) else None
        if value and isinstance(value, str):
            document["sample"][key] = str((Path(path).parent / value).resolve())  # type: ignore[arg-type]
    for key in ("catalog", "s1_catalog"):
        beside = Path(path).parent / str(document.get(key)) if path else None
        if beside is not None and document.get(key) and beside.exists():
            document[key] = str(beside.resolve())
    for key, value in changes.items():
        if value is not None:
            _set(document, key, value)
    return _validated(document, where)


def _validated(document: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(explain(error, where, Recipe)) from None


def _set(document: dict[str, Any], dotted: str, value: object) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    if isinstance(document, dict):  # what else it may be is refused with the rest of the recipe
        document[key] = value


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML.

    Raises:
        RecipeError: If `what` is "recipe" and the file cannot be read as TOML.
        CatalogError: The same for everything else.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        msg = f"{what} {path}: there is no such file"
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{what} {path}: cannot be read ({error})"
    except tomllib.TOMLDecodeError as error:
        msg = f"{what} {path}: not TOML ({error})"
    raise (RecipeError if what == "recipe" else CatalogError)(msg)


def explain(error: ValidationError, where: str, top: type) -> str:
    """Say all problems at once, each with its key, and for an unknown key the nearest known one."""
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        dotted = ".".join(location)
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            near = difflib.get_close_matches(location[-1], _keys(top, location[:-1]), 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"unknown key {dotted}{hint}")
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{dotted}: {text}" if dotted else text)
    return f"{where}: " + " · ".join(lines)


def _keys(top: type, sections: list[str]) -> list[str]:
    """Return the keys known at a place of a model."""
    known = _children(top)
    for section in sections:
        known = _children(known.get(section))
    return list(known)


def _children(kind: Any) -> dict[str, Any]:  # noqa: ANN401  # a class, a generic alias or nothing
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return {f.name: f.type for f in fields(kind)}
    return {}


def differences(one: Recipe, other: Recipe) -> list[str]:
    """Return what differs between two recipes: `key (value of one, value of other)`."""
    left, right = (dict(_flat(r)) for r in (one, other))
    return [f"{k} ({left[k]!r} there, {right[k]!r} here)" for k in left if left[k] != right[k]]


def _flat(recipe: Recipe) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in recipe.model_dump(mode="json").items():
        if isinstance(value, dict):
            found += [(f"{key}.{inner}", v) for inner, v in value.items()]
        else:
            found.append((key, value))
    return found


def to_toml(recipe: Recipe) -> str:
    """Write a recipe out in full, every value spelled out."""
    top: list[str] = []
    sections: list[str] = []
    for key, value in recipe.model_dump(mode="python").items():
        if isinstance(value, dict):
            sections += ["", f"[{key}]", *(f"{k} = {_literal(v)}" for k, v in value.items())]
        else:
            top.append(f"{key} = {_literal(value)}")
    return "\n".join([*top, *sections]) + "\n"


def _literal(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_literal(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def fingerprint(recipe: Recipe) -> str:
    """Return the sha256 of what a recipe asks for; own files count by content, not by place."""
    values = dict(_flat(recipe))
    for key in ("sample.points", "sample.within"):
        path = Path(values[key]) if values[key] else None
        if path is not None and path.is_file():
            values[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    for key in ("catalog", "s1_catalog"):
        values[key] = Path(values[key]).stem
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class _CatalogFile(BaseModel):
    """Lends a catalog's dataclass the rule that unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")

    catalog: Catalog


def catalog_names() -> list[str]:
    """Return the names of the catalogs that ship with the package."""
    return sorted(p.stem for p in _catalog_folder().glob("*.toml"))


def _catalog_folder() -> Path:
    """Return `catalogs/`: inside an installed package, or beside `pipeline/` in a checkout."""
    package = Path(str(files("s1s2")))
    installed = package / "catalogs"
    return installed if installed.is_dir() else package.parents[1] / "catalogs"


def load_catalog(name: str, allow_hosts: tuple[str, ...] = ()) -> Catalog:
    """Load a catalog by name, by the path of its TOML, or from a file or folder of STAC items.

    Args:
        name: A shipped name, or a path.
        allow_hosts: Further hosts that its pixels may be read from, one's own network included.

    Raises:
        CatalogError: If there is no such catalog, or its description is wrong.
    """
    path = Path(name)
    shipped = _catalog_folder() / f"{name}.toml"
    if path.suffix == ".toml" and path.exists():
        loaded = _described(path)
    elif name in catalog_names():
        loaded = _described(shipped)
    elif path.is_dir() or (path.is_file() and path.suffix.lower() in ITEMS_SUFFIXES):
        loaded = _items_catalog(path.resolve())
    else:
        known = ", ".join(catalog_names())
        msg = (
            f"catalog {name!r}: no such catalog or file; expected one of {known}, the path of a "
            "catalog's TOML, or a file or folder of STAC items (.json, .parquet)"
        )
        raise CatalogError(msg)
    return replace(loaded, own_hosts=(*loaded.own_hosts, *allow_hosts))


def _described(path: Path) -> Catalog:
    document = {"name": path.stem, **read_toml(path, "catalog")}
    if isinstance(document.get("items"), str) and document["items"]:
        items = (path.parent / document["items"]).resolve()
        if not items.exists():
            msg = f"catalog {path}: items {items}: there is no such file or folder"
            raise CatalogError(msg)
        document["items"] = str(items)
        document.setdefault("folders", [str(items if items.is_dir() else items.parent)])
    document["folders"] = [str((path.parent / f).resolve()) for f in document.get("folders", [])]
    try:
        return _CatalogFile.model_validate({"catalog": document}).catalog
    except ValidationError as error:
        text = explain(error, f"catalog {path}", _CatalogFile).replace(" catalog.", " ")
        raise CatalogError(text) from None


def _items_catalog(path: Path) -> Catalog:
    """Describe bare items: Planetary Computer's names, offset by baseline, files in the folder."""
    return Catalog(
        name=path.stem,
        title=f"STAC items in {path.name}",
        s1=catalog_words.PLANETARY_COMPUTER_S1,
        s2=catalog_words.PLANETARY_COMPUTER_S2,
        items=str(path),
        folders=(str(path if path.is_dir() else path.parent),),
    )


class _BatchFile(BaseModel):
    """Lends the dataclass of a cluster's TOML the rule that unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")

    batch: Batch


def load_batch(path: Path) -> Batch:
    """Load the TOML of `--cluster`.

    Raises:
        RecipeError: If it cannot be read, or says what is not known.
    """
    try:
        return _BatchFile.model_validate({"batch": read_toml(path, "cluster")}).batch
    except ValidationError as error:
        text = explain(error, f"cluster {path}", _BatchFile).replace(" batch.", " ")
        raise RecipeError(text) from None
    except CatalogError as error:
        raise RecipeError(str(error)) from None


def catalogs_of(recipe: Recipe, allow_hosts: tuple[str, ...] = ()) -> dict[Sensor, Catalog]:
    """Load the catalog of each sensor.

    Raises:
        RecipeError: If the recipe names none.
        CatalogError: If one cannot be loaded or lacks its sensor.
    """
    if not recipe.catalog:
        msg = f"no catalog named: give --catalog {'|'.join(catalog_names())} or a path"
        raise RecipeError(msg)
    s2 = load_catalog(recipe.catalog, allow_hosts)
    s1 = load_catalog(recipe.s1_catalog, allow_hosts) if recipe.s1_catalog else s2
    if s1 != s2 and s1.name == s2.name:
        msg = f"both catalogs are called {s1.name}: give one another file name"
        raise CatalogError(msg)
    return {Sensor.S2: s2, Sensor.S1: s1}
