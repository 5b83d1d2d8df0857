"""SAS tokens as Planetary Computer's: the right to read one container, until a time.

Nothing is remembered: a token proves itself by its signature.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

CANARY = "CANARYx7Qz"
"""What every signature begins with, so that one that got out is recognised wherever it ended up."""
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_RIGHTS = {"sp": "rl", "sv": "2021-06-08", "sr": "c"}
"""Read and list; version of the storage service; a container."""
_BACK = timedelta(days=1)
"""Planetary Computer's tokens are valid from the day before (its issue 463)."""


class Tokens:
    """Issues tokens and checks them.

    Args:
        secret: What signatures are made with; who has it can make tokens.
        lifetime_s: Seconds from issue to expiry. The `planetary_computer` library renews a token
            60 s before it expires: at less than that, it fetches one for every file.
    """

    def __init__(self, secret: bytes, lifetime_s: float) -> None:
        self._secret = secret
        self._lifetime = timedelta(seconds=lifetime_s)

    def issue(self, account: str, container: str, now: datetime) -> dict[str, str]:
        """Return what the token service answers: `msft:expiry` and `token`, a query string.

        Args:
            account: Storage account.
            container: One of its containers.
            now: Time of issue, aware; expiry is rounded down to seconds.

        Examples:
            >>> answer = Tokens(b"key", 3600).issue("acc", "con", datetime(2026, 1, 2, tzinfo=UTC))
            >>> answer["msft:expiry"]
            '2026-01-02T01:00:00Z'
            >>> answer["token"][:35]
            'st=2026-01-01T00%3A00%3A00Z&se=2026'
        """
        expiry = (now + self._lifetime).astimezone(UTC).strftime(_STAMP)
        query = {"st": (now - _BACK).astimezone(UTC).strftime(_STAMP), "se": expiry, **_RIGHTS}
        token = urlencode({**query, "sig": self._signature(account, container, query)})
        return {"msft:expiry": expiry, "token": token}

    def valid(self, account: str, container: str, query: Mapping[str, str], now: datetime) -> bool:
        """Tell whether a request's query holds a token for the container that has not expired."""
        expected = self._signature(account, container, query)
        if not hmac.compare_digest(expected.encode(), query.get("sig", "").encode()):
            return False
        # signed by us, so both are there and well-formed; stamps sort as text
        return query["st"] <= now.astimezone(UTC).strftime(_STAMP) < query["se"]

    def _signature(self, account: str, container: str, query: Mapping[str, str]) -> str:
        """Sign what the token grants and where; anything altered or missing alters it."""
        granted = [query.get(name, "") for name in ("st", "se", *_RIGHTS)]
        text = "\n".join([f"/blob/{account}/{container}", *granted])
        signature = hmac.digest(self._secret, text.encode(), hashlib.sha256)
        return CANARY + b64encode(signature).decode()
