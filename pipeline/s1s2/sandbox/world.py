"""The simulated archive as what a server serves: scenes to search, and files to read."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shapely.geometry.base import BaseGeometry
from starlette.routing import Route

from s1s2.sandbox import blobs, stac
from s1s2.sandbox.archive import Archive, Scene
from s1s2.sandbox.files import RenderedFiles
from s1s2.sandbox.tokens import Tokens


class World:
    """All scenes of a seed and their files; see `paging.Catalogue`."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._archive = Archive(seed)

    def collections(self, root: str) -> list[dict[str, Any]]:
        """Return the STAC collections."""
        return [stac.collection(name, root) for name in stac.COLLECTIONS]

    def scenes(
        self, collection: str, area: BaseGeometry | None, begins: datetime, ends: datetime
    ) -> Iterator[Scene]:
        """Return scenes, newest first."""
        return self._archive.scenes(collection, area, begins, ends)

    def scene(self, collection: str, identity: str) -> Scene | None:
        """Return one scene, or None if there is no such."""
        return self._archive.scene(collection, identity)

    def item(self, scene: Scene, root: str, address: str) -> dict[str, Any]:
        """Return a scene as STAC item."""
        return stac.item(scene, root, address)

    def routes(self, secret: bytes, token_lifetime_s: float) -> list[Route]:
        """Return the routes of token service and files."""

        def find(account: str, container: str, path: str) -> tuple[Scene, str] | None:
            return stac.scene_of_path(self._archive, account, container, path)

        tokens = Tokens(secret, token_lifetime_s)
        return blobs.routes(RenderedFiles(find, self._seed), tokens, stac.CONTAINERS)
