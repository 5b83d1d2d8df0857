"""The command line: runs a command, and turns every way it can end into a line and an exit code."""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from s1s2.arguments import FULL, HELD, LATER, OK, STOPPED, TERMINATED, USAGE, parser
from s1s2.commands import COMMANDS
from s1s2.errors import (
    FullError,
    HeldError,
    ReadError,
    S1S2Error,
    UnreachableError,
    redact,
)
from s1s2.progress import speak

_CODES = ((ReadError, LATER), (UnreachableError, LATER), (HeldError, HELD), (FullError, FULL))


class _Terminated(BaseException):
    """The signal SIGTERM: a scheduler wants this process to end."""


def entry() -> NoReturn:
    """Run the command of this process and end it with its exit code."""
    code = main()
    sys.stdout.flush()
    if code in (STOPPED, TERMINATED):
        os._exit(code)  # reads under way may take a minute to time out: nobody waits for them
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    speak(as_json=arguments.json, quiet=arguments.quiet)
    try:
        with _ended_by_sigterm():
            return COMMANDS[arguments.command](arguments)
    except S1S2Error as error:
        if arguments.debug:
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(f"s1s2: {error}", file=sys.stderr)
        return next((code for kind, code in _CODES if isinstance(error, kind)), USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if arguments.debug:
            print(redact(traceback.format_exc()), file=sys.stderr)
        where = f"{error.filename}: " if error.filename else ""
        print(f"s1s2: {redact(where + str(error.strerror or error))}", file=sys.stderr)
        return FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else USAGE
    except (KeyboardInterrupt, _Terminated) as stop:
        print("s1s2: stopped; run the same command again to go on", file=sys.stderr)
        return TERMINATED if isinstance(stop, _Terminated) else STOPPED


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that children are ended and leases given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, before)  # a second one ends us at once
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
