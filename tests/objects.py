"""A folder as an S3 on loopback that says what was asked of it, and can be told to go wrong."""

import hashlib
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Fault = Callable[["Handler", bytes, int, int], bool]
"""Told a request, the object, and which bytes; says whether it has answered."""

BUCKET = "bucket"


class Store(ThreadingHTTPServer):
    """Serves a folder; `asked` counts ranges by name, `faults` are by part of a name."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.asked: Counter[tuple[str, int, int]] = Counter()
        self.faults: dict[str, Fault] = {}
        self.ended = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
        path = self.server.root / name
        if not path.is_file():
            self.refuse(404)
            return
        whole = path.read_bytes()
        span = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, end = (int(span[1]), int(span[2]) + 1) if span else (0, len(whole))
        self.server.asked[name, first, end] += 1
        fault = next((f for part, f in self.server.faults.items() if part in name), None)
        if fault is None or not fault(self, whole, first, end):
            self.give(whole, first, end)

    def refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(self, whole: bytes, first: int, end: int, body: bytes | None = None) -> None:
        """Answer with a part of an object, or with another body than is said."""
        end = min(end, len(whole))
        if first >= end:
            self.refuse(416)
            return
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("ETag", f'"{hashlib.sha256(whole).hexdigest()}"')
        self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(whole)}")
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(whole[first:end] if body is None else body)


def refuses(status: int) -> Fault:
    def fault(handler: Handler, whole: bytes, first: int, end: int) -> bool:
        del whole, first, end
        handler.refuse(status)
        return True

    return fault


def cuts(handler: Handler, whole: bytes, first: int, end: int) -> bool:
    handler.give(whole, first, end, whole[first : (first + end) // 2])
    handler.close_connection = True
    return True


def flips(handler: Handler, whole: bytes, first: int, end: int) -> bool:
    body = bytearray(whole[first:end])
    body[len(body) // 2] ^= 1
    handler.give(whole, first, end, bytes(body))
    return True


def is_silent(handler: Handler, whole: bytes, first: int, end: int) -> bool:
    del whole, first, end
    handler.server.ended.wait(30)
    handler.close_connection = True
    return True


def once(fault: Fault) -> Fault:
    """Go wrong the first time alone."""
    left = [fault]

    def first_time(handler: Handler, whole: bytes, first: int, end: int) -> bool:
        return bool(left) and left.pop()(handler, whole, first, end)

    return first_time


@contextmanager
def serving(root: Path) -> Iterator[Store]:
    store = Store(root)
    thread = threading.Thread(target=store.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield store
    finally:
        store.ended.set()
        store.shutdown()
        thread.join()
        store.server_close()


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Run moto's S3 in a process of its own, with one bucket; its log goes into a folder."""
    pytest.importorskip("moto", reason="moto is missing: pip install 's1s2[dev]'")
    diary = folder / "log"
    line = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with diary.open("wb") as file:
        server = subprocess.Popen(line, stdout=file, stderr=file)
    try:
        while (found := re.search(r"Running on (http://[\d.:]+)", diary.read_text())) is None:
            assert server.poll() is None, diary.read_text()
            time.sleep(0.1)
        bucket = urllib.request.Request(f"{found[1]}/{BUCKET}", method="PUT")  # noqa: S310
        urllib.request.urlopen(bucket).close()  # noqa: S310  # the server above
        yield found[1]
    finally:
        server.kill()
        server.wait()
