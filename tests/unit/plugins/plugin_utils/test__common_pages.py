# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a message says under "More" leads somewhere, also for somebody who has no clone."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.polling import message
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.pages import read_more

from support.paths import ROOT

LINK = "docs/troubleshooting.md#killed"


def test_in_a_clone_the_link_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert read_more(LINK) == LINK


def test_elsewhere_it_is_the_page_of_the_installed_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = message("it failed", {"meaning": "a", "remedy": "b", "link": LINK})
    path = said.split("More: ")[1].removesuffix(".")
    page, _hash, anchor = path.partition("#")
    assert Path(page).is_absolute()
    assert f"### {anchor}\n" in Path(page).read_text()
