"""A corpus whose pixels go to a URL as it is built: the URL is claimed first, the rest goes last.

As long as the corpus is built, the claim there names the folder that builds it by a token; no
`corpus.json` stands there. Once it is finished, all is as a push would have left it.
"""

from dataclasses import replace

from s1s2 import ledger, published, receipts, sending, sent
from s1s2.errors import RecipeError, StoreError
from s1s2.layout import Folder
from s1s2.published import CLAIM, CORPUS
from s1s2.push import Push, Pushed
from s1s2.remote import Place
from s1s2.sent import Home


def check(folder: Folder, url: str) -> None:
    """Make sure that a URL is free, or this folder's; nothing is written, here or there.

    Args:
        folder: The corpus, begun or not.
        url: Where its pixels are to go.

    Raises:
        RecipeError: If another corpus, or anything else, is there.
        StoreError: If the store refuses.
        UnreachableError: If it does not answer now.
    """
    _claimed(Place(url), sent.home_of(folder))


def claim(folder: Folder, url: str) -> None:
    """Make a URL this folder's, and what lies there unfinished.

    Raises:
        RecipeError, StoreError, UnreachableError: As `check`.
    """
    place, home = Place(url, make=True), sent.home_of(folder)
    there = _claimed(place, home)
    home = replace(home or sent.new_home(place.url), published=False)
    sent.write_home(folder, home)  # first: who is killed now knows the claim for his own
    ours = published.claim_of_building(home.token)
    if there != ours and not place.put(CLAIM, ours, replace=there is not None):
        _claimed(place, home)  # the answer was lost, or somebody was faster
    place.remove(CORPUS)


def _claimed(place: Place, home: Home | None) -> bytes | None:
    """Return what claims a URL, if that is ours; None where nothing is there."""
    there = place.get(CLAIM)
    if there is None:
        if found := place.sizes():
            what = "another corpus" if CORPUS in found else f"other things ({min(found)})"
            msg = f"{place.url} holds {what}; name another URL"
            raise RecipeError(msg)
        return None
    said = published.claim(there, f"{place.url}/{CLAIM}")
    if home is not None:
        ours = said.get("building") == home.token or said["corpus_sha256"] in home.corpora
        if ours and home.url == place.url:
            return there
    identity = said["corpus_id"]
    what = f"another corpus (id {identity[:12]})" if identity else "one that another folder builds"
    msg = f"{place.url} holds {what}; name another URL"
    raise RecipeError(msg)


def is_published(folder: Folder) -> bool:
    """Say whether a finished corpus stands at the URL that its pixels go to."""
    home = sent.home_of(folder)
    if home is None or not home.published:
        return False
    return home.corpora[-1] == receipts.sha256_of(folder.corpus)


def publish(folder: Folder) -> Pushed:
    """Bring the rest of a finished corpus to the URL where its pixels lie, `corpus.json` last.

    Pixels were read back as they were sent; here the store's own list is asked for their sizes.

    Args:
        folder: The corpus; whoever calls holds it.

    Raises:
        StoreError: If its pixels go nowhere, or it is not finished; or the store refuses.
        RecipeError: If the URL is no longer this folder's.
        UnreachableError: If the store does not answer now.
    """
    if (home := sent.home_of(folder)) is None:
        msg = f"{folder.root}: its pixels lie here; s1s2 push publishes it"
        raise StoreError(msg)
    document = ledger.open_corpus(folder)
    content = receipts.to_json(document)
    place = Place(home.url, make=True)
    _claimed(place, home)
    for shard in receipts.numbers(folder):
        sending.settle(folder, shard, home.url)
    known = [digest for digest in home.corpora if digest != receipts.sha256(content)]
    home = replace(home, corpora=(*known, receipts.sha256(content)), published=False)
    sent.write_home(folder, home)  # first, as in `claim`
    if place.get(CORPUS) not in {None, content}:
        place.remove(CORPUS)
    final = published.claim_of(folder.root, document, content)
    place.put(CLAIM, final, replace=True)
    pushed = Push(folder, place, place.sizes(), away=True, proven=True).run(
        document, content, final
    )
    if not pushed.problems:
        sent.write_home(folder, replace(home, published=True))
    return pushed
