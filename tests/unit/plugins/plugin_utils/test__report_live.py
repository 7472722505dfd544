# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of playbooks/watch.yml: it fits the terminal, whatever that has, and says what cannot wait."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.live import ASKED, Line, frame

from support.fleet import sixteen
from support.paths import ROOT


def drawn(width: int = 160, height: int | None = None, **waited: float) -> list[Line]:
    return frame(sixteen().report(), waited, "15:00:00", width, height)


@pytest.mark.parametrize("width", [60, 80, 100, 130, 160, 250])
def test_it_fits_the_width(width: int) -> None:
    lines = drawn(width)
    assert max(len(line.text) for line in lines) <= width
    titles = lines[2].text.split()
    assert titles[:2] == ["host", "verdict"]
    assert "tok/s" in titles
    for number in range(1, 17):
        assert lines[2 + number].text.startswith(f"spark{number:02}")


def test_a_wide_terminal_shows_all_columns_and_a_narrow_one_what_matters() -> None:
    assert "throttled" in drawn(160)[2].text
    narrow = drawn(80)[2].text.split()
    assert "prefix" not in narrow
    assert {"host", "verdict", "model", "run", "wait", "tok/s"} <= set(narrow)


@pytest.mark.parametrize("height", [5, 24, 40])
def test_it_fits_the_height_and_says_what_is_missing(height: int) -> None:
    lines = drawn(100, height)
    assert len(lines) == height
    everything = len(drawn(100))
    assert lines[-1].text.startswith(f"… {everything - height + 1} more lines")


def test_a_row_has_the_verdict_that_colors_it() -> None:
    verdicts = {line.text.split()[0]: line.verdict for line in drawn() if line.verdict}
    assert len(verdicts) == 16
    assert (verdicts["spark01"], verdicts["spark02"], verdicts["spark04"]) == ("ready", "failed", "loading")


def test_a_host_that_does_not_answer_any_more() -> None:
    texts = [line.text for line in drawn(spark07=75.0)]
    assert "spark07 | no answer for 1 min; its row is older than that" in texts


def test_cause_and_remedy_stand_below_and_no_more() -> None:
    texts = [line.text for line in drawn()]
    begin = texts.index("spark03 | unreachable: the host could not be reached")
    assert texts[begin + 1].startswith("    remedy: see whether it is switched on")
    assert texts[begin + 2] == ""
    assert any(text.startswith("spark06 | the GPU is throttled") for text in texts)


def test_a_host_that_has_not_answered_yet_is_no_trouble() -> None:
    fleet = sixteen()
    fleet.health["spark01"] = {"verdict": ASKED}
    texts = [line.text for line in frame(fleet.report(), {}, "", 160, None)]
    assert any(text.split()[:2] == ["spark01", ASKED] for text in texts)
    assert not any(text.startswith("spark01 |") for text in texts)
    assert f"`{ASKED}`" in (ROOT / "docs/guides/see-the-fleet.md").read_text(encoding="utf-8")
