"""What a corpus folder may look like after it was harmed, and what it must be once it is whole."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from s1s2 import Corpus
from s1s2.cli import main
from s1s2.errors import S1S2Error, StoreError
from torture.launch import Ended
from torture.truth import Truth, content

_UNFINISHED = re.compile(r"unfinished \(\d+ of \d+ shards\)|holds no corpus")


def said_by(*line: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and all it said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main(list(line))
    return code, said.getvalue()


def differences(folder: Path, truth: Truth) -> list[str]:
    """Say in what a folder is not the truth, one line each."""
    found = content(folder)
    return [
        f"{name}: {_word(found.get(name), truth.files.get(name))}"
        for name in sorted(found.keys() | truth.files.keys())
        if found.get(name) != truth.files.get(name)
    ]


def _word(found: str | None, wanted: str | None) -> str:
    if found is None:
        return "missing"
    return "left behind" if wanted is None else "other content"


def after_harm(folder: Path, truth: Truth, ended: Ended) -> list[str]:
    """Say what is wrong with a folder whose builder was harmed, one line each.

    It is the truth, or unfinished to every command that reads; and its builder did not end in a
    traceback, nor say that all is well when it is not.
    """
    problems = []
    if "Traceback" in ended.said:
        problems.append(f"it ended in a traceback:\n{ended.said}")
    if (folder / "corpus.json").exists():
        return problems + differences(folder, truth)
    if ended.code == 0:
        problems.append("it said that all is well and left no corpus")
    for line in (("verify", str(folder)), ("show", str(folder))):
        code, said = said_by(*line)
        if code == 0 or not _UNFINISHED.search(said):
            problems.append(f"s1s2 {line[0]} of an unfinished corpus: {code}, {said}")
    try:
        Corpus(folder)
    except StoreError as error:
        if not _UNFINISHED.search(str(error)):
            problems.append(f"Corpus: {error}")
    else:
        problems.append("an unfinished corpus was opened")
    return problems


def after_resume(folder: Path, truth: Truth, ended: Ended) -> list[str]:
    """Say what is wrong with a corpus that was gone on with: it must be the truth in every byte."""
    if ended.code != 0:
        return [f"going on ended with {ended.code}:\n{ended.said}"]
    return differences(folder, truth)


def yielded(folder: Path, truth: Truth) -> list[str]:
    """Say which rows a loader yields that are not the truth's; to refuse one is no fault."""
    try:
        corpus = Corpus(folder)
        chips = [int(chip) for chip in corpus.chips()]
    except S1S2Error:
        return []
    problems = []
    for chip in chips:
        try:
            row = corpus.read(chip)
        except S1S2Error:
            continue
        if not truth.holds(chip, row):
            problems.append(f"chip {chip} was yielded and is wrong")
    return problems
