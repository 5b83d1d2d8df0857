"""Which views the simulated archive keeps while chips are read side by side."""

from collections import Counter
from functools import partial

import pytest

from s1s2.sandbox import files

FILES = ("vv", "vh")


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> files._Views:
    """Room for four."""
    monkeypatch.setattr(files, "_size", lambda _: 1)
    monkeypatch.setattr(files, "_VIEW_BYTES", 4)
    return files._Views()


def test_a_view_that_all_its_files_have_had_goes_first(views: files._Views) -> None:
    """Seven chips are read, each in two files, while an eighth waits for its second one."""
    made: Counter[str] = Counter()

    def ask(chip: str, file: str) -> None:
        views.get(chip, file, len(FILES), lambda: made.update([chip]))

    ask("eighth", "vv")
    for chip in "abcdefg":
        for file in FILES:
            ask(chip, file)
    ask("eighth", "vh")
    assert set(made.values()) == {1}


def test_of_the_others_the_one_longest_unasked_goes_first(views: files._Views) -> None:
    made: Counter[str] = Counter()
    for chip in "abcdaeab":
        views.get(chip, "vv", len(FILES), partial(made.update, [chip]))
    assert made == Counter("abbcde"), "a was asked for again, so b went"


def test_a_view_that_could_not_be_made_is_made_anew(views: files._Views) -> None:
    def fail() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        views.get("a", "vv", len(FILES), fail)
    assert views.get("a", "vv", len(FILES), lambda: "a view") == "a view"
