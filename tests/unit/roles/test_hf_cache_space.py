# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits is judged with what hf_cache_keep_free_gib leaves of the disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

TASKS = ROOT / "roles/hf_cache/tasks/space.yml"


@pytest.mark.parametrize(("keep_free", "fits"), [(0, True), (0.001, True), (10**9, False)])
def test_what_stays_free_counts(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, keep_free: float, fits: bool
) -> None:
    variables = {
        "ansible_python_interpreter": sys.executable,
        "hf_cache_keep_free_gib": keep_free,
        "hf_cache_space_bytes": 1000,
        "hf_cache_space_path": str(tmp_path),
        "hf_cache_space_repo": "org/name",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": variables,
        "tasks": [{"import_tasks": str(TASKS)}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    run = ansible_playbook(tmp_path / "play.yml", inventory="localhost,")
    assert (run.code == 0) is fits, run.output
    assert ("org/name does not fit: " in run.output) is not fits
