"""What every test shares: no network but loopback, real scenes where they are, fake ones always."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from canary import (  # noqa: F401  # hooks: no signature gets out
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from fakes import Scenes

hypothesis.settings.register_profile("default", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("default")

_connect = socket.socket.connect


def _only_loopback(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else ""
    if isinstance(address, tuple) and host not in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        msg = f"a test tried to reach {host}: tests need no network"
        raise OSError(msg)
    _connect(self, address)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _offline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "online" not in request.keywords:
        monkeypatch.setattr(socket.socket, "connect", _only_loopback)


@pytest.fixture(autouse=True, scope="session")
def _no_reports() -> Iterator[None]:
    """Builds draw no report: seconds each time, and its own tests draw theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s1s2.looking.report", lambda _: None)
        yield


@pytest.fixture(scope="session")
def real() -> Path:
    """Real scenes; tests that need them say so where they are absent."""
    root = Path(__file__).parents[1]
    path = Path(os.environ.get("S1S2_REAL_DATA", root / "../shared/real")).resolve()
    if not (path / "all.json").exists():
        pytest.skip(
            f"no real scenes at {path}: set S1S2_REAL_DATA to the folder that holds all.json"
        )
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> Scenes:
    return Scenes(tmp_path / "catalog")
