"""Signing of hrefs, just before they are opened. Nothing signed is ever kept."""

from collections.abc import Callable
from threading import Lock

from s1s2.errors import CatalogError

Signer = Callable[[str], str]
"""Takes an unsigned href, returns what to open; call it in the expression that opens."""

_LOCK = Lock()


def signer_for(signing: str) -> Signer:
    """Return the signer a catalog names: `none` or `planetary-computer`.

    Raises:
        CatalogError: If there is no such signer.
    """
    signers: dict[str, Signer] = {"none": _unsigned, "planetary-computer": _planetary_computer}
    if signing not in signers:
        msg = f"signing {signing!r}: expected one of {', '.join(signers)}"
        raise CatalogError(msg)
    return signers[signing]


def _unsigned(href: str) -> str:
    return href


def _planetary_computer(href: str) -> str:
    """Add a SAS token; one token serves a whole container and is renewed by the library.

    The library fetches a token per cold thread, so calls go one at a time: the first fetches, the
    others find it cached. `PC_SDK_SAS_URL` points it at another token service.
    """
    import planetary_computer  # noqa: PLC0415  # 0.2 s, needed only by this signer
    import requests  # noqa: PLC0415

    with _LOCK:
        try:
            return str(planetary_computer.sign_url(href))
        except requests.RequestException as error:
            kind = type(error).__name__
            msg = (
                f"no token for reading from Planetary Computer ({kind}): the token service did "
                "not answer as expected; try again later"
            )
            raise CatalogError(msg) from None
