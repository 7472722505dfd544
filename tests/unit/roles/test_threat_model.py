# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/security.md says what the templates and the tasks do."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from test_rendered_files import compose

from support.paths import ROOT

PAGE = " ".join((ROOT / "docs/reference/security.md").read_text(encoding="utf-8").split())
TASK_FILES = sorted([*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")])
# Modules that create a file or a folder. `state` may say that they only remove one, or make a link.
WRITERS = ("blockinfile", "copy", "file", "lineinfile", "template")
# The folder of the release is 0700, and its files are mounted into a container of any user.
READ_BY_THE_CONTAINER = "roles/vllm/tasks/deploy/place_files.yml"


def tasks_of(listed: t.Any) -> Iterator[dict[str, t.Any]]:
    for task in listed or []:
        yield task
        for inner in ("block", "rescue", "always"):
            yield from tasks_of(task.get(inner))


def written() -> list[t.Any]:
    """Each task that writes a file with its mode, as it stands there."""
    found = []
    for file in TASK_FILES:
        for task in tasks_of(yaml.safe_load(file.read_text(encoding="utf-8"))):
            for module in WRITERS:
                options = task.get(f"ansible.builtin.{module}")
                if options and options.get("state") not in ("absent", "link"):
                    name = file.relative_to(ROOT).as_posix()
                    found.append(pytest.param(name, task, options, id=f"{name}: {task['name']}"))
    return found


WRITTEN = written()


def units() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/templates/*.service.j2")}


def capabilities(service: t.Mapping[str, t.Any]) -> list[str]:
    return sorted(service.get("cap_add", []))


def test_the_page_names_the_capabilities_of_the_container() -> None:
    service, _found = compose()
    assert (service["security_opt"], service["cap_drop"]) == (["no-new-privileges:true"], ["ALL"])
    row = re.search(r"\| the container of vLLM \|.*?with six capabilities: (.*?); of a group also `(\w+)` \|", PAGE)
    assert row
    assert re.findall(r"`(\w+)`", row[1]) == capabilities(service)
    template = (ROOT / "roles/vllm/templates/compose.yaml.j2").read_text(encoding="utf-8")
    assert f"{{{{ '{row[2]}, ' if __vllm_resolved.nodes else '' }}}}" in template


def test_what_the_container_shares_with_the_host_is_on_the_page() -> None:
    """By default its IPC namespace, and nothing else: not the network, processes, or Docker's socket."""
    service, _found = compose()
    shared = {name: service[name] for name in ("ipc", "network_mode", "pid", "uts", "userns_mode") if name in service}
    assert shared == {"ipc": "host"}
    assert not {"privileged", "devices", "cgroup"} & set(service)
    assert "`ipc: host`" in PAGE
    assert "`vllm_ipc: private`" in PAGE
    assert not any("docker.sock" in str(volume) for volume in service["volumes"])


def test_only_the_compile_cache_is_writable_to_a_server_that_starts_offline() -> None:
    service, found = compose(vllm_api_key="0123456789abcdef")
    assert found["hf_cache_read_only"]
    writable = [
        volume
        for volume in service["volumes"]
        if not (volume["read_only"] if isinstance(volume, dict) else volume.endswith(":ro"))
    ]
    assert writable == [f"{found['compile_cache']}:/root/.cache"]


def test_nobody_becomes_a_member_of_the_group_docker() -> None:
    for file in [*TASK_FILES, *ROOT.glob("playbooks/*.yml"), *ROOT.glob("plugins/**/*.py")]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"ansible\.builtin\.(user|group)\b|\b(usermod|gpasswd|adduser|newgrp)\b", text), file
    assert "Whoever is in the group `docker` is root. The collection adds nobody to it." in PAGE


def test_units_of_root_are_on_the_page() -> None:
    said = {
        "vllm.service.j2": "guard and watchdog",
        "watchdog.service.j2": "guard and watchdog",
        "dgxspark-hf-clean.service.j2": "the daily cleanup of the cache",
    }
    of_root = {name for name, text in units().items() if not re.search(r"(?m)^User=", text)}
    assert of_root == set(said)
    for words in said.values():
        assert f"| {words}" in PAGE
    exporter = units()["dgxspark-exporter.service.j2"]
    assert re.findall(r"(?m)^(?:User|CapabilityBoundingSet)=(.*)$", exporter) == ["prometheus", "CAP_SYSLOG"]
    assert "The GPU exporter runs as the user `prometheus`, with `CAP_SYSLOG`" in PAGE


@pytest.mark.parametrize(("file", "task", "options"), WRITTEN)
def test_what_is_written_has_a_mode_and_an_owner(
    file: str, task: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]
) -> None:
    mode = options["mode"]
    assert isinstance(mode, str), "a number is read as decimal"
    assert {"owner", "group"} <= set(options)
    if "{{" not in mode:
        assert int(mode, 8) & 0o022 == 0, "others can write to it"
    if task.get("no_log") and file != READ_BY_THE_CONTAINER:
        assert mode == "0600", "it holds a secret"


def test_the_folders_in_loops_have_a_mode_too() -> None:
    """Of these, the mode is in the loop or in a variable of the role."""
    modes = {
        mode
        for path in [*TASK_FILES, *ROOT.glob("roles/*/vars/*.yml")]
        for mode in re.findall(r"""\bmode: "(\d+)\"""", path.read_text(encoding="utf-8"))
    }
    assert modes and not [mode for mode in modes if int(mode, 8) & 0o022]


def test_a_file_of_secrets_is_for_root_alone() -> None:
    secret = {
        Path(options["dest"]).name for _file, task, options in (row.values for row in WRITTEN) if task.get("no_log")
    }
    assert {".env", "alertmanager.yml"} <= secret
