import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1s2.bands import Sensor
from s1s2.cli import main
from s1s2.errors import RecipeError, S1S2Error
from s1s2.recipe import (
    Recipe,
    catalog_names,
    default_text,
    differences,
    fingerprint,
    load_catalog,
    read_recipe,
    to_toml,
)


def test_the_printed_recipe_is_the_default_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe"]) == 0
    printed = capsys.readouterr().out
    assert printed == default_text()
    document = tomllib.loads(printed)
    assert Recipe.model_validate(document) == Recipe()
    for section, values in Recipe().model_dump().items():
        known = document[section]
        if isinstance(values, dict):
            assert list(known) == list(values), f"every key of [{section}] is printed"


def test_a_resolved_recipe_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    changed = read_recipe(
        None, {"seed": 7, "name": 'quo"te', "match.exclude": ["a", "b"], "grid.size_px": 128}
    )
    path.write_text(to_toml(changed))
    assert read_recipe(path, {}) == changed
    assert differences(Recipe(), changed) == [
        "name ('default' there, 'quo\"te' here)",
        "seed (0 there, 7 here)",
        "match.exclude ([] there, ['a', 'b'] here)",
        "grid.size_px (256 there, 128 here)",
    ]


def test_flags_override_the_file_and_none_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("seed = 3\n[match]\nmax_lag_hours = 12\n")
    found = read_recipe(path, {"seed": None, "match.max_lag_hours": 6})
    assert (found.seed, found.match.max_lag_hours) == (3, 6)


def test_own_files_count_by_content_and_not_by_place(tmp_path: Path) -> None:
    prints = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.csv").write_text("lon,lat\n1,2\n")
        (tmp_path / folder / "r.toml").write_text('[sample]\npoints = "p.csv"\n')
        found = read_recipe(tmp_path / folder / "r.toml", {})
        assert Path(found.sample.points) == tmp_path / folder / "p.csv", "relative to the recipe"
        prints.add(fingerprint(found))
    assert len(prints) == 1
    (tmp_path / "b" / "p.csv").write_text("lon,lat\n1,3\n")
    assert fingerprint(read_recipe(tmp_path / "b" / "r.toml", {})) not in prints


def test_shipped_catalogs_load_and_say_what_they_lack() -> None:
    assert {"planetary-computer", "earth-search"} <= set(catalog_names())
    for name in catalog_names():
        catalog = load_catalog(name)
        for sensor in Sensor:
            product = catalog.product(sensor)
            assert bool(product.collection) != bool(product.lacks)
        assert catalog.licence
        assert catalog.hosts


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers()),
)
keys = st.sampled_from(
    ["seed", "name", "grid", "match", "size_px", "max_lag_hours", "start", "end", "reserve", "x"]
)
documents = st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values, max_size=3)))


@given(documents)
def test_any_document_is_a_recipe_or_one_line(document: dict) -> None:
    from s1s2.recipe import _validated

    try:
        outcome = _validated(document, "here")
    except RecipeError as error:
        outcome = str(error)
    assert isinstance(outcome, Recipe) or outcome.startswith("here: ")
    assert "\n" not in str(outcome)


def test_a_plan_asks_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["plan", "-n", "1000", "--catalog", "planetary-computer", "--workers", "4"]
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "1,500 points" in printed
    assert "queries" in printed
    assert "GB read" in printed
    assert "memory" in printed
    assert printed.count("\nbasis ") == 6
    assert not list(tmp_path.iterdir())


def test_errors_are_one_line_and_without_secrets() -> None:
    assert str(S1S2Error("a\n  b ?sig=SECRET&x=1")) == "a b ?sig=***&x=1"
