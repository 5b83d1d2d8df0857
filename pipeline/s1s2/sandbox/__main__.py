"""`python -m s1s2.sandbox`: serve the simulated archive. SIMULATED DATA."""

import argparse
import logging
import sys
from pathlib import Path

from s1s2.errors import S1S2Error


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end; return the exit status."""
    asked = _parser().parse_args(arguments)
    # it complains at import that it has no title: it will be given one
    logging.getLogger("stac_fastapi").setLevel(logging.ERROR)
    from s1s2.sandbox import faults, query, server  # noqa: PLC0415  # help must come in a blink

    try:
        planned = faults.load_faults(asked.faults) if asked.faults else faults.Faults()
        app = server.sandbox(
            asked.seed,
            planned,
            asked.token_lifetime,
            manners=query.STANDARD if asked.standard else query.PLANETARY_COMPUTER,
        )
        server.serve(app, asked.host, asked.port, announce=asked.announce, tied=asked.tied)
    except (S1S2Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m s1s2.sandbox", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=0, help="another seed, other scenes (0)")
    add("--faults", type=Path, metavar="TOML", help="a file of faults to inject")
    add("--token-lifetime", type=float, default=3600.0, metavar="S", help="seconds (3600)")
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    add("--port", type=int, default=0, help="port to listen on (0: any that is free)")
    add("--announce", action="store_true", help="when ready, print the address as a line of JSON")
    add("--tied", action="store_true", help="end when the standard input closes")
    add("--standard", action="store_true", help="answer as the STAC API specification, not as PC")
    return parser


if __name__ == "__main__":
    sys.exit(main())
