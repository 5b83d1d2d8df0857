"""A server of byte ranges on loopback that waits before it answers, as far away ones do.

    python ranges.py FOLDER MILLISECONDS [MBIT]

The line carries so many megabits a second, of all answers together; without, or 0, all there is.
Prints its port; ends when its standard input does. The first part of a path is ignored, so that
one file has many names: `/7/B04.tif` is `B04.tif`. `/-/counts` tells requests and bytes since.
"""

import asyncio
import mmap
import re
import sys
from collections import deque
from functools import lru_cache, partial
from pathlib import Path

RANGE = re.compile(rb"(?i)\r\nrange: bytes=(\d+)-(\d*)")
COUNTS = [0, 0]
PACKET, TICK_S = 16_384, 0.004


@lru_cache
def content(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class Connection(asyncio.Protocol):
    def __init__(self, folder: Path, wait_s: float, line: "Line") -> None:
        self.folder, self.wait_s, self.line = folder, wait_s, line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.asked = transport, b""

    def data_received(self, data: bytes) -> None:
        self.asked += data
        while b"\r\n\r\n" in self.asked:
            head, _, self.asked = self.asked.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self.wait_s, self.answer, head)

    def answer(self, head: bytes) -> None:
        method, target, _ = head.split(b" ", 2)
        name = target.decode().split("?")[0].split("/", 2)[2]
        if name == "counts":
            self.send("200 OK", " ".join(map(str, COUNTS)).encode())
            COUNTS[:] = [0, 0]
            return
        whole, span = content(self.folder / name), RANGE.search(head)
        COUNTS[0] += 1
        first = int(span[1]) if span else 0
        last = min(int(span[2] or len(whole)) if span else len(whole), len(whole) - 1)
        headers = f"Accept-Ranges: bytes\r\nContent-Range: bytes {first}-{last}/{len(whole)}\r\n"
        if method == b"HEAD":
            self.send("200 OK", b"", headers, len(whole))
            return
        COUNTS[1] += last + 1 - first
        self.send("206 Partial Content", whole[first : last + 1], headers)

    def send(self, status: str, body: bytes, headers: str = "", length: int = 0) -> None:
        length = length or len(body)
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n"
        self.line.send(self.transport, head.encode())
        for start in range(0, len(body), PACKET):
            self.line.send(self.transport, body[start : start + PACKET])


class Line:
    """What carries the answers of all connections, one packet after the other."""

    def __init__(self, mbit: float) -> None:
        self.bytes_a_second = mbit * 1e6 / 8
        self.waiting: dict[asyncio.Transport, deque[bytes | memoryview]] = {}
        self.free_at = 0.0

    def send(self, transport: asyncio.Transport, data: bytes | memoryview) -> None:
        if not self.bytes_a_second:
            transport.write(data)
            return
        idle = not self.waiting
        self.waiting.setdefault(transport, deque()).append(data)
        if idle:
            self.carry()

    def carry(self) -> None:
        """Send a packet of each connection in turn; go on when the line is free again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.free_at = max(self.free_at, now - TICK_S)
        while self.waiting and self.free_at <= now:
            transport, packets = next(iter(self.waiting.items()))
            del self.waiting[transport]
            packet = packets.popleft()
            if packets:
                self.waiting[transport] = packets
            transport.write(packet)
            self.free_at += len(packet) / self.bytes_a_second
        if self.waiting:
            loop.call_later(max(self.free_at - now, TICK_S / 4), self.carry)


async def main(folder: Path, wait_s: float, mbit: float = 0) -> None:
    loop = asyncio.get_running_loop()
    made = partial(Connection, folder, wait_s, Line(mbit))
    server = await loop.create_server(made, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) / 1000, *map(float, sys.argv[3:])))
