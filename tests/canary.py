"""A pytest plugin that ends a session badly if a signature of the sandbox got out.

Signatures begin with a mark. When all tests are done, everything below the session's temporary
folder is searched for it, inside tables too, and all that tests printed, logged or failed with.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s1s2.sandbox.tokens import CANARY

_MARK = CANARY.encode()
_found: list[str] = []
_searched = {"files": 0, "bytes": 0, "reports": 0}


def escaped(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder that holds a signature."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        content = _content(path)
        _searched["files"] += 1
        _searched["bytes"] += len(content)
        if _MARK in content:
            yield path


def _content(path: Path) -> bytes:
    """Return what a file holds; a table uncompressed, since a word in it would not be seen."""
    content = path.read_bytes()
    if content[:4] != b"PAR1":
        return content
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pq.read_table(path), sink, compression="none", use_dictionary=False)
    except (pa.ArrowException, OSError):
        return content  # a test has damaged it
    return content + sink.getvalue().to_pybytes()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Search what a test printed, logged and failed with."""
    _searched["reports"] += 1
    said = [text for _, text in report.sections] + [str(report.longrepr or "")]
    if any(CANARY in text for text in said):
        _found.append(f"the output of {report.nodeid} ({report.when})")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search what the session wrote; a hit fails it."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None and factory._basetemp is not None:  # else no test asked for a folder
        _found.extend(map(str, escaped(factory.getbasetemp())))
    if _found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was searched, and where a signature was found."""
    for place in _found:
        terminalreporter.write_line(f"CANARY: a signature got out into {place}", red=True)
    terminalreporter.write_line(
        f"canaries: {len(_found)} in {_searched['files']:,} files "
        f"({_searched['bytes'] / 1e6:,.0f} MB) and {_searched['reports']:,} reports"
    )
