"""The wire over TLS: whom it believes, through which proxies, and what a request cut off leaves."""

import datetime as dt
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from s1s2 import connections, wire
from s1s2.errors import ReadError
from s1s2.wire import Place, Wire

N = 20_000
HEAD = f"HTTP/1.1 206 x\r\nContent-Range: bytes 0-{N - 1}/{N}\r\nContent-Length: {N}\r\n\r\n"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of `localhost`, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "c.pem").write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "k.pem").write_bytes(key.private_bytes(pem, kind, plain))
    return folder / "c.pem", folder / "k.pem"


class Listening:
    """A socket that does something with every connection, each in a thread of its own."""

    def __init__(self, work: Callable[[socket.socket], None]) -> None:
        self.work, self.door = work, socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                line, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line:
            try:
                self.work(line)
            except OSError:
                return


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def ours(pems: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    trusting = ssl.create_default_context(cafile=pems[0])
    monkeypatch.setattr(connections, "_context", lambda: trusting)
    monkeypatch.setattr(wire, "_WAITS_S", ())
    for name in ("https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    opened = Wire(4)
    yield opened
    opened.close()


@pytest.fixture
def server(pems: tuple[Path, Path]) -> Iterator[Listening]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pems)

    def answer(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as safe:
            while safe.recv(9999):
                safe.sendall(HEAD.encode() + b"A" * 16_000)
                time.sleep(0.05)  # so that one read does not get it all
                safe.sendall(b"A" * (N - 16_000))

    listening = Listening(answer)
    yield listening
    listening.door.close()


def place(host: str, port: int, *, private: bool = True) -> Place:
    return Place(f"https://{host}:{port}/c/B04.tif", str, lambda _: None, private)


def test_bytes_come_over_one_connection(ours: Wire, server: Listening) -> None:
    for _ in range(3):
        assert ours.fetch(place("localhost", server.port), 0, N).data == b"A" * N


def test_a_host_of_another_name_is_not_believed(ours: Wire, server: Listening) -> None:
    with pytest.raises(ReadError, match="SSLCertVerificationError"):
        ours.fetch(place("127.0.0.1", server.port), 0, N)


def test_a_proxy_is_gone_through_with_its_password(
    ours: Wire, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def tunnel(line: socket.socket) -> None:
        asked.append(line.recv(9999))
        with socket.create_connection(("127.0.0.1", server.port)) as far:
            line.sendall(b"HTTP/1.1 200 ok\r\n\r\n")
            while True:
                for end in select.select([line, far], [], [])[0]:
                    if not (data := end.recv(65_536)):
                        return
                    (far if end is line else line).sendall(data)

    proxy = Listening(tunnel)
    monkeypatch.setenv("https_proxy", f"http://me:se%20cret@127.0.0.1:{proxy.port}")
    for _ in range(2):
        found = ours.fetch(place("localhost", 443, private=False), 0, N)
        assert found.data == b"A" * N
    proxy.door.close()
    assert len(asked) == 1, "the tunnel serves again"
    assert asked[0].startswith(b"CONNECT localhost:443 ")
    assert b"Proxy-Authorization: Basic bWU6c2UgY3JldA==" in asked[0]


@pytest.mark.hostile
def test_a_request_cut_off_never_hands_out_what_is_still_encrypted(
    ours: Wire, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is between two reads when it is cut off; a wait stands in for the scheduler."""
    for name, value in {"_LONGEST_S": 0.2, "_LOOK_S": 0.02}.items():
        monkeypatch.setattr(wire, name, value)
    cut, reads, real = threading.Event(), [0], ssl.SSLSocket.recv_into
    shut = wire._shut
    monkeypatch.setattr(wire, "_shut", lambda late: (shut(late), cut.set()))

    def slow(self: ssl.SSLSocket, *how: object) -> int:
        if threading.current_thread() is threading.main_thread():
            reads[0] += 1
            if reads[0] == 3:
                assert cut.wait(20)
        return real(self, *how)

    monkeypatch.setattr(ssl.SSLSocket, "recv_into", slow)
    try:
        found = ours.fetch(place("localhost", server.port), 0, N).data
    except ReadError:
        found = b""
    assert cut.is_set()
    assert set(found) <= set(b"A")
