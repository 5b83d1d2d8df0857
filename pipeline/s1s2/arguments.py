"""The arguments of the command line. Imports nothing heavy: help must come in a blink."""

import argparse
from datetime import date
from typing import Any, NoReturn

from s1s2 import __version__

OK, DIFFERENT, USAGE, LATER, FEWER, DAMAGED, HELD, FULL, STOPPED, TERMINATED = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    130,
    143,
)
"""Exit codes; the text below says what they mean."""

_EPILOG = """\
exit codes: 0 done · 1 diff: they differ · 2 wrong usage, recipe, catalog or file · 3 something
does not answer now, run again to go on · 4 fewer chips than wanted, what there is is kept ·
5 verification, or a check of doctor, failed · 6 held by another builder · 7 no room on the disk ·
130 and 143 stopped, run again to go on

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
    _add_to(command)
    command.add_argument(
        "--join", action="store_true", help="help whoever builds this corpus already"
    )
    _add_no_report(command)
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
    _add_to(command)
    _add_part(command)
    _add_no_report(command)
    command = _command(commands, "plan", "say what a build will cost; asks and writes nothing")
    _add_what(command)
    _add_cluster(command)
    _add_to(command, "reckon with a build that sends its pixels there")
    command = _command(commands, "recipe", "print the default recipe, commented")
    command = _command(
        commands, "verify", "prove a finished corpus: every file, checksum and pixel"
    )
    _add_verify(command)
    command = _command(
        commands,
        "export",
        "write a finished corpus in another library's layout; goes on if run again",
    )
    _add_export(command)
    _add_remote(commands)
    _add_looking(commands)
    _add_learning(commands)
    command = _command(
        commands, "sandbox", "serve the simulated catalog (SIMULATED DATA) until it is interrupted"
    )
    _add_sandbox(command)
    return top


def _add_no_report(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-report", action="store_true", help="leave report.html to s1s2 show; saves seconds"
    )


def _add_remote(commands: Any) -> None:  # noqa: ANN401  # argparse names no type for it
    command = _command(
        commands, "push", "publish a finished corpus on object storage; goes on if run again"
    )
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus")
    command.add_argument(
        "url", metavar="URL", help="where to: s3://, gs:// or az:// BUCKET/PREFIX, or file:///PATH"
    )
    command.add_argument(
        "--trust-store",
        action="store_true",
        help="compare sizes; do not read back what the store took",
    )
    command = _command(
        commands, "pull", "fetch a published corpus, or some of its chips; goes on if run again"
    )
    command.add_argument("url", metavar="URL", help="where it was pushed to")
    command.add_argument("out", metavar="FOLDER", help="a new folder, or one to go on with")
    command.add_argument("--split", choices=("train", "val", "test"), help="chips of this split")
    command.add_argument(
        "--bbox",
        type=_box,
        metavar="W,S,E,N",
        help="chips whose centre lies in these degrees (--bbox=-9,36,3,44)",
    )
    command.add_argument("-n", type=_count, metavar="N", help="no more than the first N of them")


def _add_looking(commands: Any) -> None:  # noqa: ANN401  # argparse names no type for it
    command = _command(commands, "show", "say what a corpus holds, and draw it: report.html")
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus")
    command.add_argument(
        "--seed",
        type=_whole,
        default=0,
        metavar="S",
        help="another seed, other pairs in the report",
    )
    command.add_argument("--chips", metavar="K[,K...]", help="draw these chips as one PNG instead")
    command.add_argument(
        "-o", "--out", metavar="PNG", help="where to draw chips (default: CORPUS/pairs.png)"
    )
    command = _command(commands, "status", "say how far a corpus is, also while it is built")
    command.add_argument("out", metavar="OUT", help="folder of a corpus, begun or finished")
    command = _command(commands, "doctor", "look for what would stop a build on this machine")
    command.add_argument(
        "--catalog",
        default="planetary-computer",
        metavar="NAME|PATH",
        help="whom a build would ask",
    )
    command.add_argument(
        "-o", "--out", default="corpora", metavar="OUT", help="where it would build"
    )
    command = _command(commands, "diff", "say what differs between two corpora")
    command.add_argument("one", metavar="A", help="folder of a finished corpus")
    command.add_argument("other", metavar="B", help="folder of another one")
    command = _command(commands, "completion", "print a completion script for a shell")
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose")


def _add_learning(commands: Any) -> None:  # noqa: ANN401  # argparse names no type for it
    command = _command(commands, "train", "pre-train encoders on a corpus, without labels")
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus, or its URL")
    command.add_argument(
        "--mode", choices=("s1", "s2", "both", "cross"), help="whose views are compared"
    )
    command.add_argument("--architecture", choices=("resnet18", "resnet50"), help="the encoders'")
    command.add_argument("--epochs", type=_count, metavar="E", help="passes over the train split")
    command.add_argument(
        "--batch-size", type=_count, metavar="B", help="chips a step, over all processes"
    )
    command.add_argument("--seed", type=_whole, metavar="S", help="of weights, order and views")
    _add_lesson(command)
    command.add_argument("-o", "--out", metavar="RUN", required=True, help="folder of the run")
    command = _command(
        commands, "evaluate", "judge encoders by what they are worth with few labels"
    )
    command.add_argument("runs", metavar="RUN", nargs="+", help="folders of s1s2 train")
    command.add_argument(
        "--data",
        metavar="FOLDER",
        help="a corpus, BigEarthNet or EuroSAT (default: the corpus of the first RUN)",
    )
    command.add_argument("--seeds", type=_count, metavar="K", help="repetitions of every job")
    command.add_argument(
        "--percent", metavar="P[,P...]", help="shares of the labels (1,2,5,10,20,50,100)"
    )
    _add_lesson(command)
    command.add_argument(
        "-o", "--out", metavar="OUT", required=True, help="folder for scores, tables and figure"
    )


def _add_lesson(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--recipe", metavar="NAME|PATH", help="published, paper, small, or a TOML of one's own"
    )
    command.add_argument(
        "--labels", metavar="FILE", help="Parquet: chip, and a column of shares a class"
    )


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus")
    command.add_argument(
        "--repair",
        action="store_true",
        help="build again what is damaged, and nothing else; may take the catalog",
    )
    command.add_argument(
        "--deep",
        action="store_true",
        help="then cut every chip again from its scenes and compare; takes the catalog",
    )
    command.add_argument(
        "--sample", type=_count, metavar="K", help="the same for K chips, drawn at random"
    )
    command.add_argument(
        "--seed", type=_whole, default=0, metavar="S", help="another seed, another sample"
    )
    _add_hosts(command)
    _add_cluster(command)


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("corpus", metavar="CORPUS", help="folder of a finished corpus")
    command.add_argument(
        "--to",
        choices=("webdataset", "litdata", "taco", "geotiff"),
        required=True,
        help="tars of arrays and JSON, litData's chunks, TACO's zips, or GeoTIFFs by sensor",
    )
    command.add_argument(
        "-o", "--out", metavar="FOLDER", required=True, help="a new folder, or one to go on with"
    )


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


def _command(
    commands: Any,  # noqa: ANN401  # argparse names no type for it
    name: str,
    text: str,
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.add_argument("--json", action="store_true", help="say everything as JSON, a line each")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
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
        "--codec",
        choices=("lz4", "zstd", "none"),
        help="how pixels are packed (default: lz4; zstd is a tenth smaller)",
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
        "--cluster",
        default="",
        metavar="FILE",
        help="ask a batch system (Slurm, PBS, LSF, SGE, OAR) for workers, as this TOML says",
    )
    command.add_argument(
        "--threads",
        type=_count,
        default=16,
        metavar="T",
        help="chips each process reads at once (default: 16)",
    )


def _add_to(
    command: argparse.ArgumentParser,
    words: str = "send each shard's pixels there once it is filled, and free them here; at the end "
    "all is published there (s3://, gs:// or az:// BUCKET/PREFIX, or file:///PATH)",
) -> None:
    command.add_argument("--to", default="", metavar="URL", help=words)


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


def _box(text: str) -> tuple[float, ...]:
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        msg = f"{text!r}: expected west,south,east,north in degrees"
        raise argparse.ArgumentTypeError(msg) from None
    return west, south, east, north


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a date as 2019-08-01"
        raise argparse.ArgumentTypeError(msg) from None
