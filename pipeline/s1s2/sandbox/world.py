"""The simulated world of a seed: its archive searched by the STAC API, its pixels served as blobs."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from shapely.geometry.base import BaseGeometry
from starlette.routing import Route

from s1s2.sandbox import blobs, stac, stac_s1, stac_s2
from s1s2.sandbox.archive import Archive, Scene
from s1s2.sandbox.files import RenderedFile, RenderedFiles
from s1s2.sandbox.tokens import Tokens

CONTAINERS = tuple((room.ACCOUNT, room.CONTAINER) for room in (stac_s2, stac_s1))
"""Account and container of the files of each collection."""
_PATHS_KEPT = 4096


class World:
    """What the sandbox serves; see `paging.Catalogue` and `render.Files`."""

    def __init__(self, seed: int = 0) -> None:
        self._archive = Archive(seed)
        files = RenderedFiles(
            lambda account, container, path: stac.scene_of_path(
                self._archive, account, container, path
            ),
            seed,
        )
        # a reader comes back to a file some five times for every chip
        self._find = lru_cache(_PATHS_KEPT)(files.find)

    def collections(self, root: str) -> list[dict[str, Any]]:
        """Return the STAC collections; `root` is the address of the API."""
        return [stac.collection(identity, root) for identity in stac.COLLECTIONS]

    def scenes(
        self, collection: str, area: BaseGeometry | None, begins: datetime, ends: datetime
    ) -> Iterator[Scene]:
        """Return scenes whose footprint meets an area, newest first."""
        return self._archive.scenes(collection, area, begins, ends)

    def scene(self, collection: str, identity: str) -> Scene | None:
        """Return one scene, or None if there is no such."""
        return self._archive.scene(collection, identity)

    def item(self, scene: Scene, root: str, blobs: str) -> dict[str, Any]:
        """Return a scene as STAC item; `blobs` is the address that its files lie under."""
        return stac.item(scene, root, blobs)

    def find(self, account: str, container: str, path: str) -> RenderedFile | None:
        """Return a file, or None where there is none."""
        return self._find(account, container, path)

    def routes(self, secret: bytes, token_lifetime_s: float) -> list[Route]:
        """Return the routes of token service and files."""
        return blobs.routes(self, Tokens(secret, token_lifetime_s), CONTAINERS)
