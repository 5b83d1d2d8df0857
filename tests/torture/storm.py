"""A bad network: a loopback proxy that drops, delays and cuts connections, by a seed."""

import asyncio
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from s1s2.sandbox.faults import Fault, Faults
from torture import judge
from torture.ground import Ground
from torture.kills import Tally
from torture.launch import run
from torture.served import served
from torture.truth import Truth

_MOST_RUNS = 20
_ENDS = (0, 4)
"""Exit codes of builds with nothing left to do; after any other one goes on."""


@dataclass(frozen=True)
class Weather:
    """How bad it is."""

    seed: int
    dropped: float = 0.02
    """Share of connections that are closed as soon as they are open."""
    cut: float = 0.01
    """Share of answers' pieces after which a connection is closed in the middle."""
    delayed: float = 0.1
    """Share of pieces that are kept back."""
    delay_s: float = 0.05


class Proxy:
    """Passes connections on to a server, badly. What happens to the k-th follows from the seed."""

    def __init__(self, address: str, weather: Weather) -> None:
        parts = urlsplit(address)
        self._host, self._port, self._weather = parts.hostname, parts.port, weather
        self.done: Counter[str] = Counter()
        """Connections, and what was done to them."""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side, or the weather, ends it."""
        draw = random.Random(f"{self._weather.seed}/{self.done['connections']}")
        self.done["connections"] += 1
        if draw.random() < self._weather.dropped:
            self.done["dropped"] += 1
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection(self._host, self._port)
        ways = (self._pass(reader, forth, None), self._pass(back, writer, draw))
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.transport.abort()
            forth.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draw: random.Random | None
    ) -> None:
        """Pass one direction on, in pieces; the weather has its way where there is one."""
        while piece := await reader.read(65_536):
            if draw and draw.random() < self._weather.delayed:
                self.done["delayed"] += 1
                await asyncio.sleep(self._weather.delay_s)
            if draw and draw.random() < self._weather.cut:
                self.done["cut"] += 1
                writer.write(piece[: len(piece) // 2])
                await writer.drain()
                return
            writer.write(piece)
            await writer.drain()


@contextmanager
def proxied(address: str, weather: Weather) -> Iterator[tuple[str, Counter[str]]]:
    """Run a proxy before a server.

    Yields:
        Its address, and the counts of what it did.
    """
    proxy, loop = Proxy(address, weather), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(proxy.connected, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}", proxy.done
    finally:
        asyncio.run_coroutine_threadsafe(_ended(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended(server: asyncio.Server) -> None:
    server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.sleep(0)  # sockets are closed one turn after their connection


@contextmanager
def faulty(seed: int) -> Iterator[str]:
    """Serve a sandbox that fails now and then; tokens last for seconds. Yields its address."""
    strikes = (
        Fault("status", "search", share=0.5, status=429, retry_after_s=1, most=4),
        Fault("status", "blob", share=0.03, status=503, most=8),
        Fault("corrupt", "blob", share=0.02, most=6),
        Fault("expired", "blob", share=0.02, most=4),
        Fault("cut", "blob", share=0.02, most=6),
    )
    with served(Faults(seed, strikes), token_lifetime_s=3) as address:
        yield address


def survive(ground: Ground, truth: Truth, home: Path, weather: Weather, address: str) -> Tally:
    """Build through a storm; whatever stops the build for now, go on until it is whole.

    Args:
        ground: What is built.
        truth: What it must become.
        home: A folder to build in.
        weather: The storm.
        address: Of the server behind it; with faults of its own, if it has any.

    Returns:
        What the storm did, the number of `runs`, and the `milliseconds` they took.
    """
    tally, folder = Tally(), home / "stormy"
    with proxied(address, weather) as (through, done):
        for _ in range(_MOST_RUNS):
            ended = run(ground.build(folder, address=through))
            tally.done["runs"] += 1
            tally.done["milliseconds"] += round(1000 * ended.seconds)
            if ended.code in _ENDS:
                break
            tally.add("stopped by the storm", judge.after_harm(folder, truth, ended))
        tally.done |= done
    tally.add("storm", judge.after_resume(folder, truth, ended))
    shutil.rmtree(folder)
    return tally
