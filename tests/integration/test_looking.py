"""Commands that look: status while others build, diff, doctor, completion; how commands speak."""

import json
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from fakes import Scenes, lonlat, points_file, serving
from planetary_computer import sas

from s1s2 import diff, doctor, journal, lease, progress, recipe, status, tables
from s1s2.cli import main
from s1s2.errors import UnreachableError
from s1s2.layout import Folder

PERIOD = ("--start", "2021-07-01", "--end", "2021-07-02", "--chip-size", "64")


class Ground:
    """Scenes over six points, and builds of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        scenes = Scenes(root / "catalog")
        scenes.s2(size_m=12_000)
        scenes.s1(size_m=14_000)
        self.items = scenes.save()
        places = [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, 32631) for i in range(6)]
        self.points = points_file(root / "p.geojson", places)

    def build(self, name: str, *flags: str) -> Path:
        what = ("--catalog", str(self.items), "--points", str(self.points), *PERIOD)
        assert main(["build", *what, "-o", str(self.root / name), *flags]) == 0
        return self.root / name


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("looking"))


@pytest.fixture(scope="module")
def six(ground: Ground) -> Path:
    return ground.build("six")


def spoken(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_status_of_a_finished_corpus(six: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["status", str(six)]) == 0
    said = capsys.readouterr().out
    assert "finished" in said
    assert "held    by nobody" in said
    assert "chips   6 of 6 · 1 of 1 shards" in said


def test_status_of_one_that_is_being_built(
    six: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if half of two shards were there and somebody went on: who, how fast, how long."""
    out = tmp_path / "out"
    shutil.copytree(six, out)
    (out / "corpus.json").unlink()
    folder = Folder(out)
    points = tables.read_points(folder.points)
    tables.write_points(folder.points, points, {"s1s2:n": "18", "s1s2:chips_per_shard": "6"})
    with lease.of_corpus(folder, "build"):
        capsys.readouterr()
        assert main(["status", str(out), "--json"]) == 0
        found = spoken(capsys)[-1]
    assert (found["chips"], found["wanted"]) == (6, 18)
    assert (found["shards"], found["shards_wanted"]) == (1, 3)
    assert found["finished"] is False
    assert "process" in str(found["holder"])
    speed = float(str(found["chips_per_second"]))
    assert speed > 0
    assert float(str(found["seconds_left"])) == pytest.approx(12 / speed)


def test_status_of_no_corpus_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"s1s2: {tmp_path}: holds no corpus")


def test_shards_of_earlier_runs_do_not_make_this_one_fast() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    marks = [(began - timedelta(hours=1), 500), (began + timedelta(seconds=10), 20)]
    assert status.rate(marks, began, began + timedelta(seconds=60)) == 2
    assert status.rate(marks[:1], began, began) is None


def test_the_diary_tells_how_it_went(six: Path) -> None:
    (run,) = journal.read(Folder(six))
    assert run.command == "build"
    assert run.ended == "done"
    assert {work.label: work.done for work in run.works} == {"search": 2, "chip": 6}
    assert run.estimate is not None
    assert run.estimate["chips"] == 6
    assert run.peak_mb is not None
    assert run.peak_mb > 50


def test_a_command_with_nothing_to_do_keeps_no_diary(ground: Ground, six: Path) -> None:
    before = sorted((six / "logs").iterdir())
    ground.build("six")
    for stage in ("search", "match", "chip"):
        assert main([stage, "-o", str(six)]) == 0
    assert sorted((six / "logs").iterdir()) == before


def test_a_diary_holds_no_secret_and_survives_half_a_line(six: Path, tmp_path: Path) -> None:
    shutil.copytree(six, tmp_path / "out")
    folder = Folder(tmp_path / "out")
    with progress.diary(folder, "build"):
        progress.note("search  waits 2 s: catalog a answered 503; attempt 2 of 8, at x?sig=SECRET")
    newest = max(journal.logs(folder).iterdir(), key=lambda p: p.stat().st_mtime_ns)
    assert "SECRET" not in newest.read_text()
    newest.write_text(newest.read_text() + '{"at": "2026-')
    runs = journal.read(folder)
    assert len(runs) == 2
    assert sum(run.waits["catalog a answered 503"] for run in runs) == 1


def test_a_diary_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.recipe.write_text("")
    journal.logs(folder).write_text("a file where a folder should be")
    with progress.diary(folder, "build"), progress.track("chip", 2, "chips") as tick:
        tick(2)


def test_the_same_corpus_has_no_differences(
    six: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(six, tmp_path / "copy")
    capsys.readouterr()
    assert main(["diff", str(six), str(tmp_path / "copy")]) == 0
    assert capsys.readouterr().out == "the same corpus\n"


def test_diff_names_keys_chips_and_shifts(
    ground: Ground, six: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four = ground.build("four", "-n", "4", "--max-lag-hours", "48")
    capsys.readouterr()
    assert main(["diff", str(six), str(four)]) == 1
    said = capsys.readouterr().out
    assert "match.max_lag_hours: 72.0 · 48.0" in said
    assert "wanted: 6 · 4" in said
    assert "4 the same" in said
    assert "only in the first: 2 points" in said


def test_a_shift_of_a_bands_values_is_said_in_deviations() -> None:
    before, after = (
        {"statistics": {"B04": {"mean": mean, "std": 500.0}, "VV": {"mean": -1200.0, "std": 300.0}}}
        for mean in (1000.0, 2000.0)
    )
    assert list(diff._statistics(before, after)) == [
        "mean    B04: 0.1000 · 0.2000 (+2.00 deviations)"
    ]


def test_pixels_that_changed_are_named() -> None:
    one = pd.DataFrame({"point": [7], "s2_id": ["a"], "s1_id": ["b"], "sha256": ["c"]})
    (line,) = diff.chips(one, one.assign(sha256="d"))
    assert line == "chips   0 the same · 0 of other scenes · 1 of other pixels (7)"


def test_quiet_says_nothing_and_json_says_it_all(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    ground.build("quiet", "--quiet")
    assert capsys.readouterr() == ("", "")
    ground.build("json", "--json")
    said = spoken(capsys)
    assert {line["event"] for line in said} >= {"line", "progress", "result"}
    assert said[-2]["chips"] == 6 if said[-1]["event"] == "line" else said[-1]["chips"] == 6
    cut = [x for x in said if x["event"] == "progress" and x["work"] == "chip"]
    assert [x["done"] for x in cut] == [1, 2, 3, 4, 5, 6], "a chip at a time, though in one shard"
    assert {x["total"] for x in cut} == {6}


def test_a_log_gets_plain_lines_and_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    progress.speak()
    clock = iter(range(0, 1000, 31))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
        with progress.track("chip", 100, "chips") as tick:
            tick(10)
            tick(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("chip    10 of 100 chips · ")
    assert lines[0].endswith(" left")
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar_and_no_color_is_kept_to(tmp_path: Path) -> None:
    """In a terminal of its own, with and without NO_COLOR."""
    pty = pytest.importorskip("pty")
    code = (
        "import sys, os; from s1s2.progress import track\n"
        "with track('chip', 3, 'chips') as tick:\n"
        "    tick(3)\n"
    )
    said = {}
    for no_color in ("", "1"):
        script = tmp_path / "bar.py"
        script.write_text(code)
        child = f"import pty, sys; sys.exit(pty.spawn([sys.executable, {str(script)!r}]) >> 8)"
        found = subprocess.run(
            [sys.executable, "-c", child],
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "NO_COLOR": no_color},
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        said[no_color] = found.stdout.decode()
    assert pty
    assert "3/3" in said[""]
    assert "\x1b[38;" in said[""]
    assert "\x1b[38;" not in said["1"]


def test_doctor_finds_nothing_wrong_here(
    tmp_path: Path, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["doctor", "--catalog", str(ground.items), "-o", str(tmp_path / "new")]
    assert main(line) == 0
    said = capsys.readouterr().out
    for name in ("python", "gdal", "torch", "disk", "target", "catalog"):
        assert f" {name} " in said
    assert "fail" not in said
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_doctor_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**8)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert main(["doctor", "--catalog", "nowhere", "-o", str(tmp_path)]) == 5
    said = capsys.readouterr().out
    assert "fail disk" in said
    assert "make room" in said
    assert "no such catalog or file" in said


def test_doctor_does_not_tell_to_run_a_build_again() -> None:
    def ask() -> doctor.Check:
        msg = "catalog a: https://a.example answered 503, 8 times; run the same command again"
        raise UnreachableError(msg)

    said = doctor._asked("catalog", ask)
    assert (said.state, said.found) == (
        "fail",
        "catalog a: https://a.example answered 503, 8 times",
    )


class _Service(BaseHTTPRequestHandler):
    """A token service whose clock is an hour behind."""

    token: ClassVar[dict[str, str]] = {"token": "sig=SECRET", "msft:expiry": "2030-01-01T00:00:00Z"}

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", formatdate(time.time() - 3600, usegmt=True))
        self.end_headers()
        self.wfile.write(json.dumps(self.token).encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def test_doctor_asks_for_a_token_and_compares_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = recipe.load_catalog("planetary-computer")
    with serving(_Service) as address:
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{address}/token")
        sas.Settings.get.cache_clear()
        check = doctor._tokens(catalog)
        assert (check.state, check.found) == ("ok", "the token service answers")
        monkeypatch.setattr(_Service, "token", {})
        assert doctor._tokens(catalog).state == "fail"
        clock = doctor._clock(address)
    sas.Settings.get.cache_clear()
    assert clock.state == "fail"
    assert re.fullmatch(r"36\d\d s ahead of the catalog's", clock.found)
    assert "NTP" in clock.advice


def test_doctor_finds_a_torchvision_that_breaks_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: "1.0" if "torch" in name else None)
    failing = subprocess.CompletedProcess([], 1, "", "RuntimeError: operator nms does not exist")
    working = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(
        doctor.subprocess, "run", lambda line, **_: failing if "vision" in line[-1] else working
    )
    check = doctor._torch()
    assert check.state == "warn"
    assert "operator nms does not exist" in check.found
    assert "pip uninstall torchvision" in check.advice


@pytest.mark.parametrize("found", [(3, 10), (3, 14)])
def test_doctor_knows_its_pythons(found: tuple[int, int]) -> None:
    assert doctor._python(found).state == ("fail" if found < (3, 11) else "warn")
    assert doctor._python((3, 12)).state == "ok"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_and_flags(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("build", "status", "doctor", "--max-lag-hours", "--no-report"):
        assert word in script
    if shell == "bash":
        path = tmp_path / "completion"
        path.write_text(script)
        words = "COMP_WORDS=(s1s2 sta); COMP_CWORD=1; _shtab_s1s2"
        ask = f'source {path}; {words}; echo "${{COMPREPLY[@]}}"'
        found = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)  # noqa: S607
        assert found.stdout.split() == ["status"]
