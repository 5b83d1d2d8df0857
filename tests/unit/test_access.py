"""What a catalog may lead to: its own hosts and folders, over https, at public addresses."""

from dataclasses import replace
from pathlib import Path

import pytest

from s1s2.access import admit, may_be_private
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.errors import ContractError
from s1s2.recipe import load_catalog

CATALOG = Catalog(
    name="c",
    s1=PLANETARY_COMPUTER_S1,
    s2=PLANETARY_COMPUTER_S2,
    items="x",
    hosts=("a.example/c/data", "*.b.example", "127.0.0.1:8000"),
    own_hosts=("files.local",),
)


@pytest.mark.parametrize(
    "href",
    [
        "https://a.example/c/data/x/B04.tif",
        "https://any.b.example/B04.tif",
        "http://127.0.0.1:8000/B04.tif",
        "https://files.local/B04.tif",
    ],
)
def test_what_is_named_is_admitted(href: str) -> None:
    assert admit(href, CATALOG) == href


@pytest.mark.hostile
@pytest.mark.parametrize(
    "href",
    [
        "http://a.example/c/data/B04.tif",
        "https://a.example/c/other/B04.tif",
        "https://a.example/c/database/B04.tif",
        "https://a.example/c/data/../other/B04.tif",
        "https://a.example/c/data/%2e%2e/other/B04.tif",
        "https://a.example/c/data/x%2f..%2f..%2fother/B04.tif",
        "https://a.example/c/data\\..\\other/B04.tif",
        "https://a.example:8443/c/data/B04.tif",
        "https://user@a.example/c/data/B04.tif",
        "https://a.example@evil.example/c/data/B04.tif",
        "https://b.example/B04.tif",
        "https://evil.example/?.b.example/B04.tif",
        "http://127.0.0.1:8001/B04.tif",
        "http://127.0.0.2:8000/B04.tif",
        "https://files.local:444/B04.tif",
        "ftp://any.b.example/B04.tif",
        "x" * 10_000_000,
    ],
)
def test_everything_else_is_refused_in_a_short_line(href: str) -> None:
    with pytest.raises(ContractError, match="refused") as caught:
        admit(href, CATALOG)
    assert len(str(caught.value)) < 700


@pytest.mark.hostile
def test_only_addresses_that_are_named_as_such_may_be_private() -> None:
    """A wildcard, or a name of a stranger's, may resolve to anything."""
    assert may_be_private("http://127.0.0.1:8000/B04.tif", CATALOG)
    assert may_be_private("https://files.local/B04.tif", CATALOG)
    assert not may_be_private("https://a.example/c/data/B04.tif", CATALOG)
    wild = replace(CATALOG, hosts=("*",), own_hosts=())
    assert not may_be_private("http://127.0.0.1:8000/B04.tif", wild)
    assert not may_be_private("http://169.254.169.254/latest", wild)


def test_shipped_catalogs_name_containers_and_nothing_private() -> None:
    for name in ("planetary-computer", "earth-search"):
        catalog = load_catalog(name)
        assert all("/" in host and "*" not in host for host in catalog.hosts)
        assert not catalog.own_hosts
    assert load_catalog(name, ("10.0.0.7",)).own_hosts == ("10.0.0.7",)


@pytest.mark.hostile
def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link.tif").symlink_to("/etc/passwd")
    catalog = replace(CATALOG, folders=(str(inside),))
    assert admit(f"{inside}/B04.tif", catalog) == f"{inside}/B04.tif"
    for href in (f"{inside}/link.tif", f"{inside}/../B04.tif", "file:///etc/passwd"):
        with pytest.raises(ContractError, match="outside the allowed folders"):
            admit(href, catalog)
