"""What reading chips takes at least: bytes, requests, and a processor's time."""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cogs import Work

from s1s2 import decode
from s1s2.bands import Band
from s1s2.geotiff import Header
from s1s2.headers import read_header
from s1s2.job import Job, plan
from s1s2.spans import Block
from s1s2.wire import Part, Place

_MARKS = 8
"""Bytes around a block: its size before it, its end repeated after it."""


@dataclass(frozen=True)
class Floor:
    """Blocks that chips lie in, and nothing else of their files."""

    folder: Path
    works: Sequence[Work]

    @cached_property
    def headers(self) -> Mapping[Band, Header]:
        return {band: self._header(band) for band in Band}

    @cached_property
    def jobs(self) -> list[tuple[Band, Job]]:
        place = Place("https://vouched.for", str, str)
        return [
            (band, plan(band, place, self.headers[band], grid))
            for work in self.works
            for band, grid in work.grids.items()
        ]

    @cached_property
    def ranges(self) -> list[tuple[Band, int, int]]:
        """Bytes of blocks, as one those that nothing lies between but the marks GDAL puts there."""
        found: list[tuple[Band, int, int]] = []
        for band, job in self.jobs:
            for number, block in enumerate(sorted(self._blocks(job), key=lambda b: b.start)):
                if number and block.start - found[-1][2] <= _MARKS:
                    found[-1] = (band, found[-1][1], block.stop)
                else:
                    found.append((band, block.start, block.stop))
        return found

    @property
    def requests(self) -> float:
        """A chip: its headers, then its bytes."""
        return len(Band) + len(self.ranges) / len(self.works)

    @property
    def n_bytes(self) -> float:
        """A chip, without any header."""
        return sum(stop - start for _, start, stop in self.ranges) / len(self.works)

    def cpu_ms(self, url: str) -> float:
        """Return what a chip's bytes take through one bare socket, and to be decoded after that."""
        content = {band: (self.folder / f"{band}.tif").read_bytes() for band in Band}
        moved = min(self._moving(url) for _ in range(3))
        decoded = min(self._decoding(content) for _ in range(3))
        return (moved + decoded) / len(self.works) * 1000

    def _header(self, band: Band) -> Header:
        content = (self.folder / f"{band}.tif").read_bytes()
        return read_header(lambda start, stop: Part(content[start:stop], len(content)))

    @staticmethod
    def _blocks(job: Job) -> list[Block]:
        return [block for span in job.spans for block in span.blocks]

    def _decoding(self, content: Mapping[Band, bytes]) -> float:
        begun = time.process_time()
        for band, job in self.jobs:
            whole = memoryview(content[band])
            for block in self._blocks(job):
                decode.paste(
                    job.out, block, whole[block.start : block.stop], job.header, proven=True
                )
        return time.process_time() - begun

    def _moving(self, url: str) -> float:
        host, port = url.removeprefix("http://").split(":")
        into = memoryview(bytearray(max(stop - start for _, start, stop in self.ranges)))
        with socket.create_connection((host, int(port))) as line:
            begun = time.process_time()
            for band, start, stop in self.ranges:
                asked = f"GET /0/{band}.tif HTTP/1.1\r\nRange: bytes={start}-{stop - 1}\r\n\r\n"
                line.sendall(asked.encode())
                head = b""
                while b"\r\n\r\n" not in head:
                    head += line.recv(512)
                came = len(head.partition(b"\r\n\r\n")[2])
                while came < stop - start:
                    came += line.recv_into(into[: stop - start - came])
            return time.process_time() - begun
