# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the disk, and what of it nobody needs any more."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import (
    Moment,
    Release,
    describe,
    in_order,
    linked,
    mark_of,
    next_number,
    other_homes,
    outdated,
    read,
    read_json,
    replace,
    unused_images,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

A, B, C = "a" * 12, "b" * 12, "c" * 12

TIMES = st.floats(1, 1e10) | st.integers(1, 5).map(float)  # the second: many at the same time
MOMENTS = st.builds(Moment, number=st.just(0) | st.integers(1, 20), time=TIMES)
RELEASES = st.lists(
    st.builds(
        Release,
        id=st.integers(0, 99).map("{:012x}".format),
        staged=MOMENTS,
        good=st.none() | MOMENTS,
        remedied=st.booleans(),
    ),
    unique_by=lambda release: release.id,
    max_size=12,
).map(in_order)


def at(time: float) -> Moment:
    return Moment(0, time)


def release(staged: int, good: int | None = None) -> Release:
    return Release(f"{staged:012x}", at(staged), None if good is None else at(good))


@given(RELEASES, st.integers(1, 5), st.data())
def test_what_is_outdated(releases: list[Release], keep: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from([None, *(release.id for release in releases)])))
    gone = outdated(releases, keep, needed)
    left = [release for release in releases if release not in gone]
    good = [release for release in releases if release.good is not None]
    assert not {release.id for release in gone} & needed
    # of the good ones exactly the last ones stay, beside those that are needed
    stay = [release for release in good if release in good[:keep] or release.id in needed]
    assert [release for release in left if release.good is not None] == stay
    remedied = [release for release in releases if release.good is None and release.remedied]
    assert {release.id for release in remedied if release in gone} == {each.id for each in remedied[keep:]} - needed
    never = [release for release in releases if release.good is None and not release.remedied]
    for release in gone:
        if release in never:  # never one that is younger than the last good one
            assert good[0].good is not None
            assert release.staged < good[0].good
            # and of the last ones that never were good, none that is younger than what there is to go back to
            older = len(good) >= keep and all(kept.good and release.staged < kept.good for kept in good[:keep])
            assert older or release not in never[:keep]
    # a second look finds nothing more
    assert outdated(left, keep, needed) == []


def test_those_that_failed_do_not_pile_up() -> None:
    """One release after the other failed, and then one was proven; two are staged for later."""
    failed = [release(number) for number in range(10)]
    later = [release(number) for number in (50, 51)]
    releases = in_order([*failed, *later, Release(A, at(20), at(30)), Release(B, at(1), at(2))])
    gone = outdated(releases, 3, {failed[2].id})
    assert in_order(gone) == in_order(release for release in failed if release not in (failed[2], failed[9]))
    assert outdated(failed, 3, set()) == []  # none is good: nothing to measure by


def test_what_a_remedy_has_found_stays() -> None:
    """The next run looks for it in the release that failed, however many were staged and went after it."""
    refused = Release(A, at(10), None, remedied=True)
    good = [release(number, number) for number in (11, 21, 31)]
    failed = [release(number) for number in range(15, 30)]
    assert refused not in outdated(in_order([refused, *good, *failed]), 3, set())


@given(RELEASES)
def test_order(releases: list[Release]) -> None:
    moments = [release.good for release in releases]
    known = [moment for moment in moments if moment is not None]
    assert moments[: len(known)] == sorted(known, reverse=True)


def test_images_that_another_release_names_stay() -> None:
    def of(image: object) -> Release:
        return Release(A, at(1), None, {"image": image})

    gone = [of("b"), of("a"), of("a"), of("c"), of(None), of(5), of(["x"])]
    assert unused_images(gone, [of("c"), of({}), Release(B, at(1), None)]) == ["a", "b"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in (A, B, C):
        (tmp_path / "vllm" / "releases" / name).mkdir(parents=True)
        (tmp_path / "vllm" / "releases" / name / "compose.yaml").touch()
    return tmp_path / "vllm"


def test_read(home: Path) -> None:
    (home / "releases" / A / "good").write_text("100\n")
    (home / "releases" / B / "good").write_text("200.5\n")
    (home / "releases" / B / "release.json").write_text('{"model": "m"}')
    (home / "releases" / "notes").mkdir()
    (home / "releases" / f"{A}\n").mkdir()
    (home / "releases" / ("d" * 12)).touch()
    (home / "releases" / ("e" * 12)).symlink_to(home / "releases" / A)
    found = read(str(home))
    assert [(release.id, release.good) for release in found] == [
        (B, Moment(0, 200.5)),
        (A, Moment(0, 100.0)),
        (C, None),
    ]
    assert found[0].facts == {"model": "m"}


# --- the order does not follow the clock ---------------------------------------------------------------------------

YEAR = 365 * 86400.0


def stage(home: Path, name: str, clock: float) -> None:
    """As roles/vllm/tasks/deploy/stage_release.yml does it."""
    number = describe(str(home))["next_number"]
    folder = home / "releases" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compose.yaml").touch()
    (folder / "release.json").write_text(json.dumps({"number": number}))
    os.utime(folder, (clock, clock))


def prove(home: Path, name: str, clock: float) -> None:
    moment = Moment(next_number(read(str(home))), clock)
    (home / "releases" / name / "good").write_text(mark_of(moment))


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_the_release_that_served_last_is_the_previous_one(tmp_path: Path, jump: float) -> None:
    """A was proven, the clock jumped, B was proven and serves, and C fails."""
    now = 50 * YEAR
    for number, (name, clock) in enumerate(((A, now), (B, now + jump))):
        stage(tmp_path, name, clock + number)
        prove(tmp_path, name, clock + number)
    stage(tmp_path, C, now + 3)
    (tmp_path / "current").symlink_to(f"releases/{C}")
    found = describe(str(tmp_path))
    assert (found["previous"], [one["id"] for one in found["releases"]]) == (B, [B, A, C])
    assert found["releases"][0]["good"] == now + jump + 1  # the time is for people


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
@pytest.mark.parametrize("keep", [1, 2, 3])
def test_what_was_staged_under_a_wrong_clock_stays(tmp_path: Path, jump: float, keep: int) -> None:
    now, staged_for_later = 50 * YEAR, "d" * 12
    for name in (A, B, C):
        stage(tmp_path, name, now)
        prove(tmp_path, name, now)
    stage(tmp_path, staged_for_later, now + jump)
    assert staged_for_later not in {one.id for one in outdated(read(str(tmp_path)), keep, set())}
    prove(tmp_path, A, now)  # proven again after it
    gone = {one.id for one in outdated(read(str(tmp_path)), keep, set())}
    assert (staged_for_later in gone) == (keep == 1)


def test_releases_of_earlier_versions_are_older_than_those_with_a_number(home: Path) -> None:
    """Among themselves they are in the order of their times, whatever the clock says by now."""
    (home / "releases" / A / "good").write_text(f"{3 * YEAR}\n")
    (home / "releases" / B / "good").write_text(f"{9 * YEAR}\n")
    assert [one.id for one in read(str(home))] == [B, A, C]
    prove(home, C, YEAR)
    assert [one.id for one in read(str(home))] == [C, B, A]
    assert next_number(read(str(home))) == 2


@pytest.mark.parametrize("number", ["1", True, -1, 0, 10**30, float("nan"), [], {}, None, "²", "9" * 5000])
def test_a_number_that_is_none(home: Path, number: t.Any) -> None:
    (home / "releases" / A / "release.json").write_text(json.dumps({"number": number}))
    (home / "releases" / A / "good").write_text(f"100 {number}\n", encoding="utf-8")
    assert next_number(read(str(home))) == (2 if number == "1" else 1)


@pytest.mark.parametrize("content", [b"", b"soon", b"nan", b"inf", b"-5", b"0", b"\xff\xfe"])
def test_a_mark_that_says_no_time(home: Path, content: bytes) -> None:
    (home / "releases" / A / "good").write_bytes(content)
    assert {release.id: release.good for release in read(str(home))}[A] is None


def test_a_mark_that_is_a_folder(home: Path) -> None:
    (home / "releases" / A / "good").mkdir()
    (home / "releases" / A / "release.json").mkdir()
    assert all(release.good is None and release.facts == {} for release in read(str(home)))


def test_no_home(tmp_path: Path) -> None:
    assert read(str(tmp_path / "nothing")) == []
    (tmp_path / "releases").touch()
    assert read(str(tmp_path)) == []
    assert linked(str(tmp_path / "nothing"), "current") is None


def test_a_release_that_vanishes_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.lstat

    def lstat(path: t.Any, **how: t.Any) -> os.stat_result:
        if str(path).endswith(B):
            (home / "releases" / B).rename(home / "gone")
        return look(path, **how)

    monkeypatch.setattr(os, "lstat", lstat)
    assert {release.id for release in read(str(home))} == {A, C}


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "null"])
def test_facts_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert read_json(str(tmp_path / "x.json")) == {}


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (f"releases/{A}", A),
        (f"releases/{A}/", A),
        (f"{{home}}/releases/{A}", A),
        ("releases/" + "f" * 12, None),
        ("releases/notes", None),
        (f"/tmp/releases/{A}", None),
        (f"elsewhere/{A}", None),
        ("releases", None),
        ("current", None),
        ("/", None),
    ],
)
def test_where_a_link_leads(home: Path, target: str, found: str | None) -> None:
    (home / "releases" / "notes").mkdir()
    (home / "elsewhere" / A).mkdir(parents=True)
    (home / "current").symlink_to(target.format(home=home))
    assert linked(str(home), "current") == found
    moved = home.parent / "moved"
    moved.symlink_to(home)
    assert linked(f"{moved}/", "current") == found


def test_what_is_no_link(home: Path) -> None:
    (home / "current").mkdir()
    assert linked(str(home), "current") is None


def test_homes_of_other_services(home: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    (units / "vllm.service").write_text(f"[Service]\nWorkingDirectory={home}/current\n")
    (units / "vllm-b.service").write_text("[Service]\nWorkingDirectory=/srv/b/current\nExecStart=x\n")
    (units / "other.service").write_bytes(b"[Service]\nWorkingDirectory=/srv/c\n\xff")
    (units / "gone.service").symlink_to("/nothing")
    (units / "vllm-d.service.d").mkdir()
    (units / "folder.service").mkdir()
    staged_only = tmp_path / "vllm-staged"
    staged_only.mkdir()
    (tmp_path / "again").symlink_to(home)
    for way in (str(home), f"{home}/", str(tmp_path / "again")):
        found = other_homes(way, str(units))
        assert {"/srv/b", str(staged_only)} <= set(found)
        assert str(home) not in found
    assert other_homes(str(home), str(tmp_path / "nothing"))


def test_nobody_finds_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    path.write_text("old")
    (tmp_path / "note.new").write_text("of a run that was killed")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        write(str(path), "new")
    assert path.read_text() == "old"
    write(str(path), "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["note"]


def test_a_link_is_replaced_at_once(tmp_path: Path) -> None:
    link = tmp_path / "good"
    for name in (A, B):
        replace(str(link), lambda new, name=name: os.symlink(name, new))  # type: ignore[misc]
        assert os.readlink(link) == name


def test_when_a_release_was_staged_that_has_no_description_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "releases" / A).mkdir(parents=True)
    assert [one["staged"] for one in describe(str(tmp_path))["releases"]] == [None]


def test_which_releases_were_started(tmp_path: Path) -> None:
    for number, name in enumerate((A, B)):
        folder = tmp_path / "releases" / name
        folder.mkdir(parents=True)
        (folder / "release.json").write_text("{}")
        os.utime(folder / "release.json", (1000 + number,) * 2)
    (tmp_path / "releases" / B / "started").touch()
    os.utime(tmp_path / "releases" / B / "started", (2000, 2000))
    found = {one["id"]: (one["staged"], one["started"]) for one in describe(str(tmp_path))["releases"]}
    assert found == {A: (1000, None), B: (1001, 2000)}  # the time of the folder is that of what came last
