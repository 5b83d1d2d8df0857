"""The arguments of the command line. Imports nothing heavy: help must come in a blink."""

import argparse
from datetime import date
from typing import Any, NoReturn

from s1s2 import __version__

USAGE = 2
"""Exit code of a wrong command line."""

_EPILOG = """\
exit codes: 0 done · 2 wrong usage, recipe, catalog or file, or a catalog that does not answer ·
3 files cannot be read now, run again to go on · 4 fewer chips than wanted, what there is is kept ·
5 verification failed

first steps:
  s1s2 build -n 100 --catalog sandbox -o corpora/first            # SIMULATED DATA, no network
  s1s2 show corpora/first
  s1s2 build -n 100 --catalog planetary-computer -o corpora/real
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit."""
        self.exit(USAGE, f"s1s2: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser; the name of the command goes into its arguments as `command`."""
    top = _Parser(
        prog="s1s2",
        allow_abbrev=False,
        description="Build, prove and look at corpora of matched Sentinel-1 / Sentinel-2 pairs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"s1s2 {__version__}")
    commands = top.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )

    command = _command(commands, "build", "all stages, round by round, until N chips are there")
    _add_what(command)
    _add_out(command)
    _add_cluster(command)
    command = _command(commands, "sample", "draw land points: points.parquet")
    _add_what(command)
    _add_out(command)
    command = _command(commands, "search", "find scenes over the points: scenes.parquet")
    _add_stage(command)
    _add_part(command)
    command = _command(commands, "match", "pair the scenes: matchups.parquet")
    _add_stage(command)
    command = _command(commands, "chip", "cut the chips: chips.zarr, chips.parquet, corpus.json")
    _add_stage(command)
    _add_cluster(command)
    _add_part(command)
    command = _command(commands, "plan", "say what a build will cost; asks and writes nothing")
    _add_what(command)
    _add_cluster(command)
    command = _command(commands, "recipe", "print the default recipe, commented")
    command = _command(
        commands, "verify", "prove a finished corpus: every file, checksum and pixel"
    )
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus")
    command = _command(commands, "show", "say what a corpus holds and draw some of its pairs")
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus")
    command.add_argument(
        "--chips", metavar="K[,K...]", help="which chips to draw (default: 6, evenly spread)"
    )
    command.add_argument(
        "-o", "--out", metavar="PNG", help="where to draw them (default: CORPUS/pairs.png)"
    )
    command = _command(
        commands, "sandbox", "serve the simulated catalog (SIMULATED DATA) until it is interrupted"
    )
    _add_sandbox(command)
    return top


def _add_sandbox(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port", type=_whole, default=8765, help="port to listen on, 0 for any (default: 8765)"
    )
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine alone)",
    )
    command.add_argument(
        "--seed", type=_whole, default=0, metavar="S", help="another seed, another planet"
    )
    command.add_argument("--faults", metavar="FILE", help="a TOML of faults to inject; see README")
    command.add_argument(
        "--token-minutes",
        type=float,
        default=60.0,
        metavar="M",
        help="how long tokens are good for (default: 60)",
    )


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _add_what(command: argparse.ArgumentParser) -> None:
    """Add the recipe and the few of its values that everyone changes; they override it."""
    command.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a recipe's TOML (default: s1s2 recipe)"
    )
    command.add_argument(
        "-n", type=_whole, metavar="N", help="chips wanted; more later lets a corpus grow"
    )
    command.add_argument(
        "--catalog",
        metavar="NAME|PATH",
        help="a catalog's name, its TOML, or a file or folder of STAC items",
    )
    command.add_argument("--s1-catalog", metavar="NAME|PATH", help="another catalog for Sentinel-1")
    command.add_argument("--seed", type=_whole, metavar="S", help="another seed, other points")
    command.add_argument("--start", type=_day, metavar="DATE", help="first day, YYYY-MM-DD")
    command.add_argument("--end", type=_day, metavar="DATE", help="last day, inclusive")
    command.add_argument(
        "--points", metavar="FILE", help="your own points: a vector file, or CSV with lon and lat"
    )
    command.add_argument(
        "--chip-size", type=_whole, metavar="PX", help="side of a chip in 10 m pixels"
    )
    command.add_argument(
        "--max-lag-hours", type=float, metavar="H", help="greatest time between the two scenes"
    )
    _add_hosts(command)


def _add_stage(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--out", required=True, metavar="OUT", help="the corpus' folder, begun by s1s2 sample"
    )
    _add_hosts(command)


def _add_hosts(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="a further host that pixels may be read from",
    )


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--out", metavar="OUT", help="the corpus' folder (default: corpora/CATALOG-N)"
    )


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="K",
        help="processes on this machine (default: 1)",
    )
    command.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="join a dask cluster instead, as tcp://host:8786",
    )
    command.add_argument(
        "--threads",
        type=_count,
        default=8,
        metavar="T",
        help="chips each process reads at once (default: 8)",
    )


def _add_part(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--part", default="1/1", metavar="I/N", help="do the I-th of N parts (job arrays; I from 1)"
    )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        msg = f"{text!r} is not a whole number"
        raise argparse.ArgumentTypeError(msg) from None


def _count(text: str) -> int:
    if (value := _whole(text)) < 1:
        msg = f"{text} is less than 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a date as 2019-08-01"
        raise argparse.ArgumentTypeError(msg) from None
