# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy/image.yml on hosts that pull one after the other, with a stand-in for Docker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

TASKS = ROOT / "roles/vllm/tasks/deploy/image.yml"
RELEASE = "0123456789ab"
REF = "registry.example/vllm:1"
A, B = ("registry.example/vllm@sha256:" + letter * 64 for letter in "ab")
DOCKER = """#!/bin/sh
[ "$1 $2 $4 $5" = "image inspect -- $IMAGE" ] && cat "$ANSWER"
"""


@pytest.mark.parametrize(
    ("first", "second", "known", "fails"),
    [
        ([A], [A], None, None),
        ([A], [B], None, f"sha256:{'b' * 64} on two and sha256:{'a' * 64} on one"),
        ([A, B], [B], None, None),
        ([A], None, None, None),
        (None, [A], None, None),
        ([A], [A], A.partition("@")[2], None),
        (None, [B], A.partition("@")[2], None),
    ],
)
def test_hosts_of_one_run_have_one_image(
    tmp_path: Path,
    ansible_playbook: AnsiblePlaybook,
    first: list[str],
    second: list[str],
    known: str | None,
    fails: str | None,
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    for host, digests in (("one", first), ("two", second)):
        (tmp_path / host / "releases" / RELEASE).mkdir(parents=True)
        (tmp_path / host / ".dgxspark-vllm").write_text(json.dumps({"service": "vllm", "made": []}))
        (tmp_path / host / "answer").write_text(json.dumps({"Id": f"sha256:{host}", "RepoDigests": digests}))
    home = f"{tmp_path}/{{{{ inventory_hostname }}}}"
    variables = {
        **THIS_MACHINE,
        "vllm_image": "nvcr.io/vllm:1",
        "__vllm_release": RELEASE,
        "__vllm_daemon_options": {},
        "__vllm_resolved": {"image_ref": REF, "home": home, "image": {"ref": "nvcr.io/vllm:1", "digest": known}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"one": {}, "two": {}}, "vars": variables}}))
    play = {
        "hosts": "all",
        "serial": 1,
        "gather_facts": False,
        "environment": {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "IMAGE": REF, "ANSWER": f"{home}/answer"},
        "tasks": [{"include_tasks": str(TASKS)}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", folder=tmp_path)
    assert (run.code != 0) is bool(fails), run.output
    warned = known is not None and any(known not in str(digests) for digests in (first, second) if digests)
    assert ("expects sha256:" in " ".join(run.output.split())) is warned
    if fails:
        said = " ".join(run.output.split())
        assert fails in said
        assert f"Set vllm_image to nvcr.io/vllm:1@sha256:{'a' * 64}" in said
    for host, digests in (("one", first), ("two", second)):
        recorded = json.loads((tmp_path / host / "releases" / RELEASE / "image.json").read_text())
        assert recorded == {"id": f"sha256:{host}", "digests": digests or []}
