# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview of an uninstallation lists the container, with a stand-in for Docker."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

NAME = "uninstall | Remove the container and its network"


def tasks(found: t.Any) -> t.Iterator[dict[str, t.Any]]:
    for each in found:
        if each.get("name") == NAME:
            yield each
        yield from tasks(each.get("block", []))


@pytest.mark.parametrize(
    ("container", "owned", "changed"),
    [("0123abcd", True, 1), ("", True, 0), ("0123abcd", False, 0)],
)
def test_check_mode_lists_the_container(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, container: str, owned: bool, changed: int
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ -z "{container}" ] || echo {container}\n')
    docker.chmod(0o755)
    text = (ROOT / "roles/vllm/tasks/uninstall.yml").read_text(encoding="utf-8")
    play = {
        "hosts": "all",
        "gather_facts": False,
        "environment": {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        "tasks": list(tasks(yaml.safe_load(text))),
    }
    variables = {
        **THIS_MACHINE,
        "vllm_service_name": "vllm",
        "__vllm_resolved": {"home": str(tmp_path)},
        "__vllm_installed": {"owned": owned, "current": "a" * 12},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": {}}, "vars": variables}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    run = ansible_playbook(tmp_path / "play.yml", "--check", inventory=tmp_path / "hosts.yml")
    assert (run.code, run.count("a", "changed")) == (0, changed), run.output
    calls = (tmp_path / "calls").read_text() if owned else ""
    assert ("ps --all --quiet --filter=label=com.docker.compose.project=dgxspark-vllm" in calls) is owned
