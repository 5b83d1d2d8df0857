"""What lies beside a finished corpus for people and machines: the page, its figures, the card.

None of it is part of the corpus: its id stays, and all of it can be written again at any time.
"""

from pathlib import Path

from s1s2 import receipts, tables
from s1s2.files import write_bytes
from s1s2.layout import BESIDE
from s1s2.load import Corpus
from s1s2.report.card import card
from s1s2.report.croissant import croissant
from s1s2.report.page import render

PAGE = "report.html"


def write(root: Path, *, seed: int = 0) -> Path:
    """Write `report.html`, `report/*.png`, `README.md` and `croissant.json`; return the page.

    Args:
        root: The corpus' folder.
        seed: Which pairs the page's gallery draws.

    Raises:
        StoreError: If the folder holds no finished corpus, a chip that is drawn is damaged, or
            nothing can be written there.
    """
    corpus = Corpus(root)
    _sweep(root)
    write_card(corpus)
    page, figures = render(corpus, seed=seed)
    for figure in figures:
        write_bytes(root / "report" / f"{figure.name}.png", figure.png())
    write_bytes(root / PAGE, page.encode())
    return root / PAGE


def _sweep(root: Path) -> None:
    """Remove what was left half written by who was killed here."""
    for place in (*(root / name for name in BESIDE), root / "report" / "*.png"):
        for litter in place.parent.glob(f".{place.name}.*.partial"):
            litter.unlink(missing_ok=True)


def write_card(corpus: Corpus) -> None:
    """Write `README.md` and `croissant.json`: the same bytes for the same corpus."""
    root = corpus.folder.root
    refusals = tables.read_refusals(corpus.folder.refusals)
    write_bytes(root / "README.md", card(corpus.about, corpus.index, refusals).encode())
    described = croissant(corpus.about, corpus.index)
    write_bytes(root / "croissant.json", receipts.to_json(described))
