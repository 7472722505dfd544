# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action in a real play: what the operator sees, what the file holds, and when neither is wanted."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible_collections.dgxspark.vllm.plugins.action.health_report import ActionModule

from support.paths import NO_SETTINGS
from support.playbook import AnsiblePlaybook, Run

# what a task would have registered, with a template in it that must not be followed any more
VARIABLES: dict[str, t.Any] = {
    "good": {"verdict": "ready", "model": "a/b", "metrics": {"running": 3}, "container": None},
    "bad": {"verdict": "failed", "cause": {"id": "x", "meaning": "it broke", "remedy": "mend it", "evidence": "crash"}},
    "gone": {"unreachable": True, "msg": "no route to host"},
}
HEADER = "host  verdict"


def play(
    ansible_playbook: AnsiblePlaybook,
    folder: Path,
    health: str,
    *flags: str,
    path: str = "",
    query: str = "",
    **environment: str,
) -> Run:
    """Runs the action once for three hosts that nobody could connect to."""
    book = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars": VARIABLES | {"ansible_host": "192.0.2.1"},
            "tasks": [
                {
                    "name": "Show",
                    "dgxspark.vllm.health_report": {
                        "hosts": "{{ ansible_play_hosts_all }}",
                        "health": health,
                        "spark": {"a": {"gpu": {"driver": "580.1"}}, "b": None},
                        "wanted": {"c": {"model": "a/b", "image": "x:1"}},
                        "path": path,
                        "query": query,
                    },
                    "run_once": True,
                    "register": "shown",
                },
                {"name": "Say", "ansible.builtin.debug": {"msg": "unhealthy={{ shown.unhealthy | join('+') }}"}},
            ],
        }
    ]
    (folder / "play.yml").write_text(json.dumps(book), encoding="utf-8")
    return ansible_playbook(
        "play.yml",
        *flags,
        inventory="a,b,c,",
        folder=folder,
        config=NO_SETTINGS,
        environment=environment,
    )


ALL = "{{ {'a': good, 'b': bad, 'c': gone} }}"


def test_one_table_for_all_and_no_failure(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, ALL)
    assert run.code == 0, run.output
    assert run.output.count(HEADER) == 1
    lines = run.output.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(HEADER))
    assert [line.split()[:2] for line in lines[begin + 1 : begin + 4]] == [
        ["a", "ready"],
        ["b", "failed"],
        ["c", "unreachable"],
    ]
    for text in ("b | failed: it broke", "remedy: mend it", "seen:   crash", "seen:   no route to host"):
        assert text in run.output
    assert "unhealthy=b+c" in run.output
    assert "changed=0" in run.output


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"ANSIBLE_STDOUT_CALLBACK": "minimal"}, 1),
        ({"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}, 0),
        ({"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"}, 0),
        ({"ANSIBLE_DISPLAY_OK_HOSTS": "false"}, 0),
    ],
)
def test_whatever_shows_the_rest(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, environment: dict[str, str], shown: int
) -> None:
    run = play(ansible_playbook, tmp_path, "{{ {'a': good} }}", **environment)
    assert run.code == 0, run.output
    # the result of the task, which some of them print, has the line breaks written as \n
    assert sum(line.startswith(HEADER) for line in run.output.splitlines()) == shown


def test_output_for_programs_is_left_whole(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    output = play(ansible_playbook, tmp_path, ALL, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json").json()
    result = output["plays"][0]["tasks"][0]["hosts"]["a"]
    assert result["unhealthy"] == result["report"]["unhealthy"] == ["b", "c"]
    assert result["table"].startswith(HEADER)


def test_the_file_holds_the_report(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, ALL, path="report.json")
    assert run.code == 0, run.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(host["host"], host["verdict"]) for host in report["hosts"]] == [
        ("a", "ready"),
        ("b", "failed"),
        ("c", "unreachable"),
    ]
    assert (report["hosts"][0]["running"], report["hosts"][0]["driver"]) == (3, "580.1")
    assert (report["hosts"][2]["wanted_image"], report["verdicts"]["failed"]) == ("x:1", 1)
    assert "changed=0" in run.output


QUERY = "[?verdict!='ready'].{host: host, cause: cause.id}"
SELECTED = [{"host": "b", "cause": "x"}, {"host": "c", "cause": "unreachable"}]


def test_a_query_shows_and_writes_what_it_selects(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, ALL, path="selected.json", query=QUERY)
    assert run.code == 0, run.output
    assert HEADER not in run.output
    start = run.output.index("\n[\n") + 1
    assert json.loads(run.output[start : run.output.index("\n]\n", start) + 2]) == SELECTED
    assert json.loads((tmp_path / "selected.json").read_text()) == SELECTED
    assert "unhealthy=b+c" in run.output


def test_a_query_for_programs(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    environment = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    output = play(ansible_playbook, tmp_path, ALL, query=QUERY, **environment).json()
    result = output["plays"][0]["tasks"][0]["hosts"]["a"]
    assert (result["selected"], len(result["report"]["hosts"])) == (SELECTED, 3)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("[?verdict", "is not a JMESPath expression: Incomplete expression"),
        ("sum(@)", "does not fit the report: In function sum()"),
    ],
)
def test_a_query_that_is_wrong(tmp_path: Path, ansible_playbook: AnsiblePlaybook, query: str, said: str) -> None:
    run = play(
        ansible_playbook, tmp_path, ALL, path="selected.json", query=query, ANSIBLE_CALLBACK_RESULT_FORMAT="json"
    )
    assert run.code != 0
    assert said in run.output
    assert '"report"' not in run.output
    assert not (tmp_path / "selected.json").exists()


def test_check_mode_shows_and_does_not_write(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, ALL, "--check", path="report.json")
    assert (run.code, run.output.count(HEADER)) == (0, 1)
    assert not (tmp_path / "report.json").exists()


def test_a_file_that_cannot_be_written_is_one_clear_line_below_the_table(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    run = play(
        ansible_playbook, tmp_path, ALL, path=f"{tmp_path}/no/report.json", ANSIBLE_CALLBACK_RESULT_FORMAT="json"
    )
    assert run.code != 0
    assert run.output.count(HEADER) == 1
    line = f"The report cannot be written to {tmp_path}/no/report.json: the folder {tmp_path}/no does not exist"
    assert line in run.output
    assert '"report"' not in run.output


def test_a_value_is_never_templated_again(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """A host's message may hold anything."""
    (tmp_path / "seen").write_text("{{ 6 * 7 }} {% if", encoding="utf-8")
    run = play(ansible_playbook, tmp_path, "{{ {'a': {'msg': lookup('file', 'seen')}} }}")
    assert "seen:   {{ 6 * 7 }} {% if" in run.output, run.output


def test_no_log_moves_the_terminal(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """A log with control sequences, from the module that reads it to all that Ansible prints of it."""
    evil = "a\x1b]0;owned\x07\x1b]52;c;cm0gLXJmIH4K\x07\x9b2J\u202eb\x1b[31m"
    (tmp_path / "start.log").write_text(f"{evil}\nRuntimeError: boom {evil}\n", encoding="utf-8")
    book = [
        {
            "hosts": "all",
            "gather_facts": False,
            "connection": "local",
            "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            "tasks": [
                {
                    "name": "Read",
                    "dgxspark.vllm.vllm_log_info": {"path": str(tmp_path / "start.log"), "exit_code": 1},
                    "register": "found",
                },
                {
                    "name": "Show",
                    "dgxspark.vllm.health_report": {
                        "hosts": ["a", "b"],
                        "health": {"a": "{{ found }}", "b": {"unreachable": True, "msg": f"banner {evil}"}},
                    },
                },
                {"name": "Say", "ansible.builtin.debug": {"var": "found"}},
                {"name": "End", "ansible.builtin.fail": {"msg": "{{ found.cause.evidence }}"}},
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(book), encoding="utf-8")
    run = ansible_playbook("play.yml", "-v", inventory="a,", folder=tmp_path, config=NO_SETTINGS)
    assert "seen:   RuntimeError: boom a" in run.output
    assert "banner a" in run.output
    assert not set("\x1b\x07\x9b\u202e") & set(run.output)
    assert "owned" not in run.output


def test_a_path_is_checked_before_any_host_is_asked(tmp_path: Path) -> None:
    """With no hosts, as the role calls it first: nothing is shown, and nothing written."""
    args = {"hosts": [], "health": {}, "path": f"{tmp_path}/no/health.json"}
    task = MagicMock(check_mode=False, async_val=0, args=args)
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    refused = action.run(task_vars={})
    assert refused["failed"]
    assert refused["msg"].endswith(f"no/health.json: the folder {tmp_path}/no does not exist")
    args["path"] = f"{tmp_path}/health.json"
    assert not action.run(task_vars={}).get("failed")
    assert list(tmp_path.iterdir()) == []
