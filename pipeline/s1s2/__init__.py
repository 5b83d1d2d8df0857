"""Verified, matched Sentinel-1 / Sentinel-2 pairs: `from s1s2 import Corpus`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s1s2.load import Corpus, Feed, Ranks, View

__all__ = ["Corpus", "Feed", "Ranks", "View", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import on first use: `import s1s2` and the command line stay fast."""
    if name in __all__:
        from importlib import import_module  # noqa: PLC0415  # one function needs it

        return getattr(import_module("s1s2.load"), name)
    msg = f"module 's1s2' has no attribute {name!r}"
    raise AttributeError(msg)
