# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of several hosts as one list: the worst first, and hosts with the same result on one line."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.preflight import build, render

OK = {"check": "variables", "result": "ok", "text": ""}
HELD = "spark02: Port 8000 is held by nginx (pid 812), which is not a vLLM server. Stop it, or set vllm_port"
HOSTS: dict[str, list[dict[str, t.Any]]] = {
    "spark01": [OK, {"check": "port", "result": "warning", "text": "the switch stops vllm-old"}],
    "spark02": [
        OK,
        {"check": "port", "result": "failed", "text": HELD},
        {"check": "memory", "result": "not checked", "needs": ["port"]},
    ],
    "spark03": [],
}


def test_what_fails_comes_first_and_names_its_remedy() -> None:
    report = build(HOSTS, 0.0)
    assert render(report, list(HOSTS), 160).splitlines() == [
        "3 hosts: a deployment would fail on 2",
        "",
        "check      host              result",
        f"port       spark02           FAILED: {HELD.removeprefix('spark02: ')}",
        "port       spark01           WARNING: the switch stops vllm-old",
        "variables  spark01, spark02  ok",
        "spark02: not checked, because another check failed: memory",
    ]


def test_what_waits_for_the_preparation_says_so() -> None:
    text = "registry.example/vllm:1 can be asked for after playbooks/prepare.yml"
    hosts = {"a": [OK, {"check": "image", "result": "not checked", "text": text}]}
    report = build(hosts, 0.0)
    assert report["failed"] == []
    assert render(report, ["a"], 160).splitlines()[3:] == [
        f"image      a     not checked: {text}",
        "variables  a     ok",
    ]


def test_what_needs_another_check_is_told_by_its_field() -> None:
    """The text is for people: one that reads the same decides nothing."""
    waits = {"check": "image", "result": "not checked", "text": "it needs: a registry"}
    report = build({"a": [waits, {"check": "memory", "result": "not checked", "needs": ["port", "image"]}]}, 0.0)
    assert [(row["text"], row["needs"]) for row in report["checks"]] == [
        ("it needs: a registry", []),
        ("it needs: port, image", ["port", "image"]),
    ]
    assert render(report, ["a"], 160).splitlines()[3:] == [
        "image  a     not checked: it needs: a registry",
        "a: not checked, because another check failed: memory",
    ]


def test_a_host_without_a_single_check_has_not_passed() -> None:
    assert build(HOSTS, 0.0)["failed"] == ["spark02", "spark03"]


def test_no_line_is_wider_than_the_terminal() -> None:
    lines = render(build(HOSTS, 0.0), list(HOSTS), 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()).count("Stop it, or set vllm_port") == 1


def test_all_hosts_are_not_listed_by_name() -> None:
    hosts = {"a": [OK], "b": [OK]}
    text = render(build(hosts, 0.0), list(hosts), 160)
    assert text.endswith("variables  all hosts  ok")
    assert text.startswith("2 hosts: nothing is in the way of a deployment")


def test_the_message_of_a_task_is_one_clean_line() -> None:
    text = "Task failed: Module failed: no\n  route\x1b[31m to host"
    hosts = {"a": [{"check": "SSH, sudo", "result": "failed", "text": text}]}
    assert build(hosts, 0.0)["checks"][0]["text"] == "no route to host"
