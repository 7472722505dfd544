# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together, in a real play: what the operator is told, and of which hosts."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.nodes import LOST

from support.playbook import AnsiblePlaybook

PAIR = {"vllm_nodes": ["a", "b"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
HOSTS: dict[str, dict[str, t.Any]] = {
    "a": {**PAIR, "vllm_node_address": "192.168.100.1"},
    "b": {**PAIR, "vllm_node_address": "192.168.100.2"},
    "c": {},
}
TOGETHER = f"vllm_nodes: a serves together with b; run it on all of them: -l a,b; {LOST}"


def check(
    ansible_playbook: AnsiblePlaybook, folder: Path, hosts: dict[str, t.Any], limit: str, whole: bool
) -> dict[str, list[str]]:
    """The problems of each host."""
    inventory, book = folder / "hosts.yml", folder / "play.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": hosts}}), encoding="utf-8")
    task = {"name": "Check", "dgxspark.vllm.check_variables": {"role": "vllm", "whole_groups": whole}}
    book.write_text(yaml.safe_dump([{"hosts": "spark", "gather_facts": False, "tasks": [task]}]), encoding="utf-8")
    environment = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    run = ansible_playbook(book, "-l", limit, inventory=inventory, folder=folder, environment=environment)
    (play,) = run.json()["plays"]
    return {host: result["problems"] for host, result in play["tasks"][0]["hosts"].items()}


@pytest.mark.parametrize(
    ("limit", "whole", "other", "expected"),
    [
        ("all", True, {}, {"a": [], "b": [], "c": []}),
        ("a", True, {}, {"a": [TOGETHER]}),
        ("a", False, {}, {"a": []}),
        ("c", True, {}, {"c": []}),
        (
            "c",  # what another host of the inventory says counts, too
            False,
            {"a": {**HOSTS["a"], "vllm_nodes": ["a", "c"]}},
            {
                "c": [
                    "vllm_nodes: c serves in [a, c] of a, and its own value is []; a host serves in one group: set the"
                    " same list on all of its hosts"
                ]
            },
        ),
    ],
)
def test_units(
    tmp_path: Path,
    ansible_playbook: AnsiblePlaybook,
    limit: str,
    whole: bool,
    other: dict[str, t.Any],
    expected: dict[str, list[str]],
) -> None:
    assert check(ansible_playbook, tmp_path, {**HOSTS, **other}, limit, whole) == expected
