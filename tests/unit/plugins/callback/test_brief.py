# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback brief: what it prints of a play, what it leaves out, and the exit code of a drift."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run
from support.waiting import wait_until

BRIEF = {"ANSIBLE_STDOUT_CALLBACK": "dgxspark.vllm.brief"}
DRIFT = {
    "hosts": ["spark01"],
    "health": {
        "spark01": {
            "verdict": "ready",
            "container": {"status": "running", "image": "a", "labels": {"dgxspark.vllm.release": "0123456789ab"}},
        }
    },
    "wanted": {"spark01": {"image": "a", "release": "ba9876543210"}},
}


def play(ansible_playbook: AnsiblePlaybook, folder: Path, tasks: list[dict[str, t.Any]], *flags: str) -> Run:
    nothing = [{"name": "Nothing", "ansible.builtin.assert": {"that": True}}]
    (folder / "included.yml").write_text(yaml.safe_dump(nothing), encoding="utf-8")
    plays = [{"name": "A play", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"spark01": THIS_MACHINE}}}), encoding="utf-8")
    inventory = folder / "hosts.yml"
    return ansible_playbook(folder / "play.yml", *flags, inventory=inventory, environment=BRIEF)


def said(run: Run) -> list[str]:
    return [line for line in run.output.partition("PLAY RECAP")[0].splitlines() if line]


def test_only_changes_messages_and_failures_are_printed(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(
        ansible_playbook,
        tmp_path,
        [
            {"name": "Read", "ansible.builtin.command": "true", "changed_when": False},
            {"name": "Skip", "ansible.builtin.command": "true", "when": False},
            {"name": "Include", "ansible.builtin.include_tasks": "included.yml"},
            {"name": "Say", "ansible.builtin.debug": {"msg": "one line\nanother line"}},
            {"name": "Change", "ansible.builtin.command": "true"},
            {"name": "End", "ansible.builtin.fail": {"msg": "the port is held. Set vllm_port"}},
        ],
    )
    lines = said(run)
    assert run.code == 2
    assert lines[:2] == ["one line", "another line"]
    assert lines[2].startswith("TASK [Change] ***")
    assert lines[3:] == ["changed: [spark01]", "spark01: FAILED: the port is held. Set vllm_port"]


@pytest.mark.parametrize("loop", [{}, {"loop": [1]}])
def test_a_failure_names_its_host_once(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, loop: dict[str, list[int]]
) -> None:
    fail = {"name": "End", "ansible.builtin.fail": {"msg": "{{ inventory_hostname }}: Port 8000 is held"}, **loop}
    line, *_more = said(play(ansible_playbook, tmp_path, [fail]))
    assert line == "spark01: FAILED: Port 8000 is held"


def test_a_login_that_fails_is_told_with_its_remedy(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    failed = "cannot be reached: Failed to connect to the host via ssh: x@192.0.2.7: Permission denied (publickey)."
    tasks = [{"name": "End", "ansible.builtin.fail": {"msg": failed}}]
    (line,) = said(play(ansible_playbook, tmp_path, tasks))
    assert line.startswith(f"spark01: FAILED: {failed} Remedy: set ansible_user to ")
    elsewhere = {"ansible_connection": "ssh", "ansible_host": "spark01.invalid"}
    (line,) = said(play(ansible_playbook, tmp_path, [{"name": "Go", "ansible.builtin.raw": "true", "vars": elsewhere}]))
    assert line.startswith("spark01: UNREACHABLE: ")
    assert "Remedy: correct ansible_host" in line


def test_hosts_of_a_loop_that_need_not_answer_are_no_failure(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """As report/read_untouched.yml asks the hosts of later batches: what there is to say of them is in a table."""
    loop: dict[str, t.Any] = {
        "name": "Ask",
        "ansible.builtin.command": "true",
        "delegate_to": "{{ item }}",
        "loop": ["spark02.invalid"],
        "vars": {"ansible_connection": "ssh"},
    }
    run = play(ansible_playbook, tmp_path, [{**loop, "ignore_unreachable": True}])
    assert (run.code, said(run)) == (0, [])
    lines = said(play(ansible_playbook, tmp_path, [loop]))
    assert any("spark02.invalid" in line for line in lines), lines


def test_a_failure_that_is_handled_is_one_line(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = {
        "block": [{"name": "wait | Wait for it", "ansible.builtin.fail": {"msg": "a long reason"}}],
        "rescue": [{"name": "End", "ansible.builtin.fail": {"msg": "It serves. {{ ansible_failed_result.msg }}"}}],
    }
    lines = said(play(ansible_playbook, tmp_path, [tasks]))
    assert lines == [
        "spark01: Wait for it: failed; the reason follows",
        "spark01: FAILED: It serves. a long reason",
    ]


def test_what_a_program_said_is_told(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """The module's own message says nothing."""
    script = "echo the disk is full >&2; exit 3"
    lines = said(play(ansible_playbook, tmp_path, [{"name": "Run", "ansible.builtin.shell": script}]))
    (line,) = lines
    assert line.startswith("spark01: FAILED: ")
    assert line.endswith("non-zero return code: the disk is full")
    copy = {"content": "x", "dest": str(tmp_path / "x"), "validate": "grep nothing-of-this %s /not/there"}
    (line,) = said(play(ansible_playbook, tmp_path, [{"name": "Write", "ansible.builtin.copy": copy}]))
    assert line.startswith("spark01: FAILED: failed to validate: ")
    assert "/not/there" in line


def test_what_a_report_has_shown_is_not_repeated(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = [{"name": "End", "dgxspark.vllm.host_verdict": {"msg": "not ready", "unreachable": True}}]
    run = play(ansible_playbook, tmp_path, tasks)
    assert (run.code, said(run)) == (4, [])
    assert run.count("spark01", "unreachable") == 1


def test_with_v_everything_is_printed(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = [{"name": "Read", "ansible.builtin.command": "true", "changed_when": False}]
    run = play(ansible_playbook, tmp_path, tasks, "-v")
    assert "TASK [Read]" in run.output
    assert "ok: [spark01] => " in run.output


@pytest.mark.parametrize(("fails", "code"), [(False, 3), (True, 2)])
def test_drift_ends_with_a_code_of_its_own(
    fails: bool, code: int, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    tasks: list[dict[str, t.Any]] = [{"name": "Report", "dgxspark.vllm.health_report": DRIFT}]
    tasks += [{"name": "End", "ansible.builtin.fail": {"msg": "no"}}] if fails else []
    run = play(ansible_playbook, tmp_path, tasks)
    assert run.code == code, run.output
    assert "spark01 | release 0123456789ab runs, and the inventory wants ba9876543210" in run.output


def test_a_query_prints_json_that_another_program_can_read(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    report = {"name": "Report", "dgxspark.vllm.health_report": {**DRIFT, "query": "[].host"}}
    end = {"name": "End", "dgxspark.vllm.host_verdict": {"msg": "not ready"}}
    run = play(ansible_playbook, tmp_path, [report, end])
    assert run.code == 2
    assert json.loads(run.output) == ["spark01"]


NOBODY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
NO_PYTHON = {"ansible_python_interpreter": "/usr/bin/nopython"}


@pytest.mark.parametrize(
    ("hosts", "serial", "line"),
    [
        ({"h1": NOBODY, "h2": {}}, [1], "To go on without it: run the command with -l 'all,!h1'."),
        # what the play says of it in words of its own
        (
            {"h1": {**NOBODY, "own_words": True}, "h2": {}},
            [1],
            "To go on without it: run the command with -l 'all,!h1'.",
        ),
        (
            {"h1": NO_PYTHON, "h2": NO_PYTHON},
            [1],
            "To go on without it, if the others do not have the same fault: run the command with -l 'all,!h1'.",
        ),
        ({"h1": NOBODY, "h2": {}}, [], ""),  # the other host was done
        ({"h1": {**NOBODY, "vllm_nodes": ["h1", "h2"]}, "h2": {}}, [1], ""),  # nobody is left
        (
            {"h1": {**NOBODY, "dgxspark_host": "rack"}, "h2": {"dgxspark_host": "rack"}, "h3": {}},
            [1],
            "To go on without it: run the command with -l 'all,!rack'.",
        ),
    ],
)
def test_how_to_go_on_without_a_lost_host(
    hosts: dict[str, dict[str, t.Any]], serial: list[int], line: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    own_words = "{{ own_words | default(false) }}"
    tasks = [
        {"ansible.builtin.ping": {}, "register": "answer", "ignore_unreachable": own_words},
        {"ansible.builtin.fail": {"msg": "no answer"}, "when": "answer is unreachable"},
    ]
    plays = [
        {"hosts": "all", "gather_facts": False, "tasks": []},
        {"hosts": "all", "gather_facts": False, "serial": serial, "tasks": tasks},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    rack = {"hosts": {name: {} for name, its in hosts.items() if "dgxspark_host" in its}}
    inventory = {"all": {"hosts": {name: {**THIS_MACHINE, **its} for name, its in hosts.items()}}}
    inventory["all"]["children"] = {"rack": rack}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    run = ansible_playbook(tmp_path / "play.yml", "-l", "all", inventory=tmp_path / "hosts.yml", environment=BRIEF)
    assert run.code == (4 if NOBODY.items() <= hosts["h1"].items() and "own_words" not in hosts["h1"] else 2), (
        run.output
    )
    assert next((told for told in run.output.splitlines() if told.startswith("To go on")), "") == line, run.output


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("site.yml", "Start it again with the same command"),
        ("watch.yml", "It changes nothing on the hosts"),
        (
            "rollback.yml",
            "Start it again with -e vllm_rollback_release= and the release that you want",
        ),  # else it would go forth again
    ],
)
def test_a_run_that_is_broken_off_says_how_to_go_on(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, name: str, again: str
) -> None:
    tasks = [{"ansible.builtin.shell": f"touch {tmp_path}/begun; sleep 600"}]
    (tmp_path / name).write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"spark01": THIS_MACHINE}}}))
    process = ansible_playbook.start(tmp_path / name, inventory=tmp_path / "hosts.yml", environment=BRIEF)
    wait_until((tmp_path / "begun").exists, "the task runs", timeout=120)
    output = None
    while output is None:  # a signal that comes while Python forks is lost; a second one would break off the message
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            output = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    (told,) = (line for line in output.splitlines() if line.startswith("The run was broken off. "))
    assert again in told
    assert ("playbooks/health.yml shows what serves" in told) is (name != "watch.yml")


def test_an_inventory_that_cannot_be_decrypted_has_begun_nothing(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    variables = tmp_path / "group_vars" / "all.yml"
    variables.parent.mkdir()
    variables.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n", encoding="utf-8")
    run = play(ansible_playbook, tmp_path, [{"name": "Change", "ansible.builtin.command": "true"}])
    assert run.code
    assert "The run was broken off" not in run.output
    (told,) = (line for line in run.output.splitlines() if line.startswith("No task was started"))
    assert "give --ask-vault-pass or --vault-password-file" in told


@pytest.mark.parametrize(("groups", "times"), [({}, 1), ({"spark": {"hosts": {"spark01": {}}}}, 0)])
def test_without_a_host_it_says_how_to_name_one(
    groups: dict[str, t.Any], times: int, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    plays = [{"hosts": "spark:!all", "gather_facts": False, "tasks": []}] * 2
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", environment=BRIEF)
    assert run.code == 0
    assert run.output.count("no host: copy inventories/example to inventories/mine, or name an inventory with -i") == (
        times
    )
