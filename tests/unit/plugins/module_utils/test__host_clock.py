# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times that were noted before the clock was set."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.clock import Clock, age_of, clock
from hypothesis import given
from hypothesis import strategies as st

YEAR = 365 * 86400.0
START = 50 * YEAR


@given(
    jump=st.sampled_from([-YEAR, -3600.0, 0.0, 3600.0, YEAR]),
    set_after=st.floats(0, 2000),
    written_after=st.floats(0, 2000),
    age=st.floats(0, 4000),
)
def test_nothing_seems_to_be_older_than_it_is(jump: float, set_after: float, written_after: float, age: float) -> None:
    """A process starts, somewhen the clock jumps, somewhen it writes a line, and then somebody looks."""
    if written_after > age:
        return
    noted = START + written_after + (jump if written_after >= set_after else 0)
    now = START + age + (jump if age >= set_after else 0)
    today = clock(now, START, age)
    assert today == Clock(now, jump if age >= set_after else 0.0)
    seems = now - today.moment(noted)
    assert 0 <= seems <= age - written_after + 1e-3  # of floats this large


@pytest.mark.parametrize(("started", "age"), [(None, 5.0), (START, None), (START, 100.0), (START - 5, 100.0)])
def test_no_jump(started: float | None, age: float | None) -> None:
    assert clock(START + 100, started, age) == Clock(START + 100, 0.0)


def test_the_age_of_a_process_does_not_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        monkeypatch.setattr(time, "time", lambda: START + YEAR)
        age = age_of(process.pid)
        process.kill()
    assert age is not None
    assert -1 < age < 60


@pytest.mark.parametrize("stat", ["", "1 (x) S", "1 (a) b) S" + " ²" * 40, "1 (x) S" + " 1" * 10])
def test_a_process_that_cannot_be_read(tmp_path: Path, stat: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(stat)
    assert age_of(7, str(tmp_path)) is None
    assert age_of(8, str(tmp_path)) is None
    assert age_of(None) is None
    assert age_of(os.getpid()) is not None
