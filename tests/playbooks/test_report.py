# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/report.yml on hosts that are each ill in their own way: all of them are on the page."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import yaml

from support.playbook import THIS_MACHINE, UNREACHABLE, AnsiblePlaybook, Run

HOSTS: dict[str, dict[str, t.Any]] = {
    "dead": UNREACHABLE,
    "empty": {"vllm_container_name": "no-such-container-anywhere"},
    "mistyped": {"vllm_model": "qwen3-9b"},
}


def play(ansible_playbook: AnsiblePlaybook, folder: Path, *flags: str, **variables: t.Any) -> Run:
    common = {
        **THIS_MACHINE,
        "ansible_become": False,
        "hf_cache_path": "/opt/no-such-folder-anywhere",
        "vllm_home": "/opt/no-such-home-anywhere",
        "vllm_hf_token": "hf_0123456789abcdef0123",
        "vllm_api_key": "0123456789abcdef-key",
        "vllm_report_file": str(folder / "report.html"),
        **variables,
    }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": HOSTS, "vars": common}}), encoding="utf-8")
    return ansible_playbook("playbooks/report.yml", *flags, inventory=inventory)


def test_every_host_is_on_the_page(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path)
    assert run.code == 0, run.output
    page = tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    for number, host in enumerate(HOSTS, 1):
        assert f'<h3 id="host-{number}">{host}</h3>' in text
    for seen in ("did you mean qwen3-8b-fp8?", "unreachable", "unknown", "free of"):
        assert seen in text
    for secret in ("hf_0123456789abcdef0123", "0123456789abcdef-key"):
        assert secret not in text + run.output
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f"wrote {page} (" in run.words
    assert "0 of 3 hosts ready" in run.words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hosts.yml", "report.html"]


def test_a_wrong_path_is_refused_before_a_host_is_asked(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, vllm_report_file=f"{tmp_path}/no/report.html")
    assert run.code == 2
    assert f"cannot be written to {tmp_path}/no/report.html: the folder {tmp_path}/no does not exist" in run.words
    assert run.output.count("fatal: ") == 1
    assert "Read the host" not in run.output
