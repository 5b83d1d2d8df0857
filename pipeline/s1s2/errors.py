"""Every exception this package raises on purpose, and the redaction of secrets in their text.

A message says what happened to which thing, what was expected, and what to do. The command line
prints it as one line; nothing signed survives in it.
"""

import re

_SECRET = re.compile(
    r"(?i)\b(sig|se|sp|spr|st|sv|sr|skoid|sktid|skt|ske|sks|skv|(?:x-amz|x-goog)-[a-z-]+|signature|"
    r"awsaccesskeyid|googleaccessid|token|credential|access_token|api_?key|subscription-key|sas)"
    r"=[^&\s'\"<>]+"
)


def redact(text: str) -> str:
    """Blank the values of signature and token parameters in a text.

    Examples:
        >>> redact("https://a.blob.core.windows.net/c/B04.tif?se=2026-01-01&sig=abc%3D not found")
        'https://a.blob.core.windows.net/c/B04.tif?se=***&sig=*** not found'
    """
    return _SECRET.sub(lambda match: f"{match[1]}=***", text)


def unsigned(href: str) -> str:
    """Return an href without its query, if that holds a signature or a token.

    Items saved by somebody who signed them carry tokens that are secret and soon expire.

    Examples:
        >>> unsigned("https://a.blob.core.windows.net/c/B04.tif?se=2026-01-01&sig=abc%3D")
        'https://a.blob.core.windows.net/c/B04.tif'
        >>> unsigned("https://a.example/B04.tif?version=2")
        'https://a.example/B04.tif?version=2'
    """
    path, _, query = href.partition("?")
    return path if _SECRET.search(query) else href


class S1S2Error(Exception):
    """Base of every error raised on purpose; its text is redacted on construction."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(" ".join(message.split())))


class RecipeError(S1S2Error, ValueError):
    """A recipe, a flag or a points file asks for something that cannot be."""


class CatalogError(S1S2Error):
    """A catalog cannot be reached, is misdescribed, lacks what is needed, or overreaches."""


class UnreachableError(CatalogError):
    """A catalog or a scheduler does not answer now; the same command goes on another time."""


class ReadError(S1S2Error, OSError):
    """One asset could not be read; ends a candidate, never the corpus.

    Attributes:
        reason: `asset_missing` and `asset_corrupt` are final; `unreachable` is not: the same
            asset may be read another day, so it is never recorded as an outcome.
    """

    def __init__(self, message: str, reason: str = "asset_corrupt") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ReadError"], tuple[str, str]]:
        """Keep the reason when the error travels between processes."""
        return type(self), (str(self), self.reason)


class ContractError(S1S2Error, ValueError):
    """A file or table is not what it is declared to be (dtype, driver, lattice, schema)."""


class StoreError(S1S2Error):
    """The corpus folder cannot be written, read or trusted as it stands."""


class HeldError(StoreError):
    """Another builder holds the corpus, or a shard of it."""


class FullError(StoreError):
    """The disk is full, or a quota reached."""
