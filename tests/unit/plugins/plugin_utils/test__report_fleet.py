# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a fleet and its text, from results as vllm_health and spark_info give them."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import condition
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet as report_fleet
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet_table
from fleet_results import FIRMWARE, MODEL, NOW, WANTED, build, fleet, found, health, spark, table_of

Facts = dict[str, t.Any]


# --- one host -----------------------------------------------------------------------------------------------------


def test_a_host_that_is_ready() -> None:
    report = build({"spark01": health()})
    assert report["time"] == "2026-11-23T15:00:00Z"
    assert (report["verdicts"], report["unhealthy"], report["notes"]) == ({"ready": 1}, [], [])
    assert fleet_table.render(report).splitlines() == [
        "host     verdict  model              image               since  run  wait   KV  tokens/plan  prefix  preempt"
        "  tok/s  GPU °C   MHz  throttled",
        "spark01  ready    Qwen/Qwen3-8B-FP8  vllm:25.09-py3  2 h 4 min    8     0  3 %    623K/640K    71 %        0"
        "    402      68  2418         no",
        "",
        "1 host: 1 ready",
    ]


def test_the_data_of_a_host() -> None:
    (host,) = build({"spark01": health()})["hosts"]
    assert (host["since"], host["since_seconds"]) == ("2026-11-23T12:55:00.123456789Z", 7499)
    assert (host["profile"], host["release"], host["driver"]) == ("throughput", "3f1c9a0b7d2e", "580.95.05")
    assert host["firmware"] == FIRMWARE
    assert (host["gpu_throttled"], host["memory_available_bytes"]) == (False, 12 * 1024**3)


def test_a_host_that_failed() -> None:
    cause = {**condition("oom_killed", "  Killed \n process ")._asdict(), "link": "docs/troubleshooting.md#oom_killed"}
    report = build({"spark01": health("failed", cause=None) | {"cause": cause}})
    assert report["unhealthy"] == ["spark01"]
    (host,) = report["hosts"]
    assert host["summary"] == f"failed: {cause['meaning']}"
    assert (host["since"], host["since_seconds"], host["running"]) == (None, None, None)
    assert fleet_table.render(report).split("\n\n")[2].splitlines() == [
        f"spark01 | failed: {cause['meaning']}",
        f"    remedy: {cause['remedy']}",
        "    seen:   Killed process",
        "    more:   docs/troubleshooting.md#oom_killed",
    ]
    # what is only wanted stands in brackets
    assert table_of(report)[1].split()[:4] == ["spark01", "failed", f"({MODEL})", "vllm:25.09-py3"]


@pytest.mark.parametrize("verdict", ["failed", "degraded", "stuck", "absent"])
def test_a_verdict_without_a_cause(verdict: str) -> None:
    report = build({"spark01": health(verdict)})
    assert report["hosts"][0]["summary"] == verdict
    assert f"\n\nspark01 | {verdict}" in fleet_table.render(report)


def test_a_host_that_loads_after_a_crash_says_why_it_was_restarted() -> None:
    before = {**condition("killed", "exit code 137")._asdict(), "link": "docs/troubleshooting.md#killed"}
    state = health("loading", phase="load", progress={"percent": 50}, idle_seconds=185.0, previous_cause=before)
    report = build({"spark01": state})
    assert report["unhealthy"] == ["spark01"]
    assert fleet_table.render(report).split("\n\n")[2].splitlines() == [
        "spark01 | loading: phase load, 50 %, nothing new for 3 min",
        f"    restarted after: {before['meaning']}",
        f"    remedy: {before['remedy']}",
        "    seen:   exit code 137",
        "    more:   docs/troubleshooting.md#killed",
    ]


def test_a_host_that_loads_as_it_should() -> None:
    report = build({"spark01": health("loading", phase="compile", idle_seconds=5)})
    assert fleet_table.render(report).split("\n\n")[2] == "spark01 | loading: phase compile"


def test_a_hint_is_no_more_than_that() -> None:
    hint = condition("stuck", "waiting for the lock")._asdict()
    text = fleet_table.render(build({"spark01": health("loading", phase="download", hint=hint)}))
    assert f"    perhaps: {hint['meaning']}\n" in text
    assert "seen:   waiting for the lock" in text


# --- hosts that could not be asked --------------------------------------------------------------------------------


def test_an_unreachable_host() -> None:
    msg = "Task failed: Data could not be sent to remote host.\nssh: connect to host 192.0.2.1 port 22: timed out"
    report = build({"spark01": {"unreachable": True, "changed": False, "msg": msg}}, {})
    assert (report["unhealthy"], report["verdicts"]) == (["spark01"], {"unreachable": 1})
    text = fleet_table.render(report)
    assert "spark01 | unreachable: the host could not be reached" in text
    assert "    seen:   Data could not be sent to remote host. ssh: connect to host 192.0.2.1 port 22: timed" in text
    assert re.fullmatch(rf"spark01  unreachable  \({MODEL}\)(  +-){{12}}", table_of(report)[1])


@pytest.mark.parametrize("state", [{"failed": True, "msg": 'vllm_port: "abc" is not allowed'}, {}, None])
def test_a_check_that_failed(state: Facts | None) -> None:
    report = build({"spark01": state}, {"spark01": None})
    assert (report["unhealthy"], report["verdicts"]) == (["spark01"], {"unknown": 1})
    seen = 'seen:   vllm_port: "abc" is not allowed' if state else "seen:   no message; see the task that failed, above"
    assert seen in fleet_table.render(report)


def test_a_service_that_waits_for_its_turn_is_well() -> None:
    waits = health("waiting", "waiting")
    report = build({"spark01-vllm": health(), "spark01-vllm-b": waits})
    assert report["unhealthy"] == []
    assert report_fleet.exit_code(report["hosts"]) == 0
    assert table_of(report)[2].split()[:2] == ["spark01-vllm-b", "waiting"]


def test_nobody_knows_anything() -> None:
    report = report_fleet.build(["a"], {}, {}, {}, NOW)
    assert re.fullmatch(r"a     unknown(  +-){13}", table_of(report)[1])
    assert report["notes"] == []


def test_a_server_without_metrics() -> None:
    report = build({"spark01": health("degraded", "no_answer")}, {"spark01": spark() | {"gpu": None, "throttle": {}}})
    cells = table_of(report)[1].split()
    assert (cells[-9:-7], cells[-7], cells[-6:]) == (["-"] * 2, "623K/640K", ["-"] * 6)


# --- many hosts ---------------------------------------------------------------------------------------------------


def test_sixteen_hosts_in_their_order_within_the_width() -> None:
    healths = fleet(16)
    healths |= {"spark07": {"unreachable": True, "msg": "no route to host"}, "spark03": health("failed", "oom_killed")}
    healths["spark11"] = None
    healths["spark16"] = health(running=64, waiting=1200, kv_cache_usage=1.0, preemptions=123456)
    report = build(healths)
    lines = table_of(report)
    assert [line.split()[0] for line in lines[1:]] == list(healths)
    assert report["unhealthy"] == ["spark03", "spark07", "spark11"]
    assert max(map(len, lines)) <= 160
    assert "16 hosts: 13 ready, 1 failed, 1 unreachable, 1 unknown" in fleet_table.render(report)
    json.dumps(report)


def test_the_same_trouble_is_said_once_for_all_its_hosts() -> None:
    states = {"a": health("absent", "absent"), "b": health(), "c": health("absent", "absent"), "d": health("failed")}
    blocks = fleet_table.render(build(states)).split("\n\n")[2:]
    assert [block.splitlines()[0].split(" | ")[0] for block in blocks] == ["a, c", "d"]


def test_numbers_are_right_aligned() -> None:
    healths = fleet(2)
    healths["spark02"] = health(running=128, preemptions=4711, kv_cache_usage=0.5)
    head, first, second = table_of(build(healths))
    for title, cells in {"run": ("8", "128"), "preempt": ("0", "4711"), "KV": ("3 %", "50 %")}.items():
        end = head.index(title) + len(title)
        assert (first[:end].endswith(f" {cells[0]}"), second[:end].endswith(f" {cells[1]}")) == (True, True), title


def test_very_long_names_are_cut_in_the_middle() -> None:
    name = "spark-in-the-basement-of-the-old-building-behind-the-river-rack-{}.example.org"
    state = health(model="somebody/An-Extraordinarily-Long-Name-Of-A-Model-With-Everything-In-It-FP8-dynamic")
    state["container"]["image"] = "registry.example.org/mirror/vllm-openai:v0.26.0-aarch64-cu129-ubuntu2404-and-more"
    names = [name.format(number) for number in range(16)]
    report = build(dict.fromkeys(names, state))
    lines = table_of(report)
    assert {len(line) for line in lines[1:]} == {160}
    assert all("…" in line for line in lines[1:])
    assert [host["host"] for host in report["hosts"]] == names


def test_names_are_not_cut_without_need() -> None:
    assert "…" not in fleet_table.render(build(fleet(16)))


# --- small parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7500, "2 h 5 min"),
        (48 * 3600 - 1, "47 h 59 min"),
        (48 * 3600, "2 d 0 h"),
        (90 * 86400 + 3600, "90 d 1 h"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert report_fleet.age(seconds) == text


def test_a_host_whose_clock_is_ahead() -> None:
    state = health()
    state["container"]["started_at"] = "2026-11-23T15:00:07Z"
    assert build({"spark01": state})["hosts"][0]["since_seconds"] == 0


@pytest.mark.parametrize(("rate", "text"), [(0.0, "0"), (0.4, "0.4"), (9.96, "10.0"), (10.4, "10"), (12345.6, "12346")])
def test_rates(rate: float, text: str) -> None:
    assert table_of(build({"spark01": health(generation_tokens_per_second=rate)}))[1].split()[-4] == text


@pytest.mark.parametrize(("width", "text"), [(10, "abcdefghij"), (9, "abcd…ghij"), (4, "ab…j"), (3, "a…j")])
def test_shorten(width: int, text: str) -> None:
    assert fleet_table.shorten("abcdefghij", width) == text


@pytest.mark.parametrize(
    ("wanted", "verdict", "is_noted"),
    [
        ({**WANTED, "release": "ba9876543210"}, "ready", True),
        ({**WANTED, "release": "3f1c9a0b7d2e"}, "ready", False),
        (WANTED, "ready", False),  # the host was not read as far as that
        ({**WANTED, "release": "ba9876543210"}, "failed", False),  # nothing runs
        ({**WANTED, "image": "other:1", "release": "ba9876543210"}, "ready", False),  # the other image says it
    ],
)
def test_a_release_that_the_inventory_does_not_want(wanted: Facts, verdict: str, is_noted: bool) -> None:
    """Same model and image, another profile or option: the table has no column that shows it."""
    report = report_fleet.build(["a"], {"a": health(verdict)}, {"a": spark()}, {"a": wanted}, NOW)
    meaning = "release 3f1c9a0b7d2e runs, and the inventory wants ba9876543210, with "
    assert [text.startswith(meaning) for _hosts, text in found(report, "release_drift")] == [True] * is_noted


def test_a_long_line_of_evidence_is_cut() -> None:
    cause = {**condition("exited", "x" * 5000)._asdict(), "link": None}
    text = fleet_table.render(build({"spark01": health("failed") | {"cause": cause}}))
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.parametrize(
    ("verdicts", "drift", "code"),
    [
        (["ready", "ready"], False, 0),
        (["ready", "degraded"], True, 2),
        (["ready", "ready"], True, 3),
        (["failed", "unreachable"], True, 4),
    ],
)
def test_the_exit_code_is_that_of_the_worst(verdicts: list[str], drift: bool, code: int) -> None:
    assert report_fleet.exit_code([{"verdict": verdict, "drift": drift} for verdict in verdicts]) == code


@pytest.mark.parametrize(
    ("image", "release", "wanted", "drift"),
    [
        ("a", "1", {"image": "a", "release": "1"}, False),
        ("b", "1", {"image": "a", "release": "1"}, True),
        ("a", "2", {"image": "a", "release": "1"}, True),
        ("a", "2", {"image": "a", "release": None}, False),  # the head of several hosts: its workers say it
        (None, None, {"image": "a", "release": "1"}, False),
    ],
)
def test_drift(image: str | None, release: str | None, wanted: dict[str, t.Any], drift: bool) -> None:
    assert report_fleet.is_drift(image, release, wanted) is drift


@pytest.mark.parametrize(
    ("head", "verdict", "cause"),
    [
        (health(), "ready", None),
        (health("loading"), "loading", None),
        (health("degraded", "peer_lost"), "degraded", "peer_lost"),
        # without power: the worker's connection tells nothing of it
        ({"unreachable": True, "msg": "Connection timed out"}, "degraded", "peer_lost"),
        (None, "ready", None),  # it was not asked
    ],
)
def test_a_worker_is_as_its_head(head: Facts | None, verdict: str, cause: str | None) -> None:
    wanted = {"nodes": ["spark01", "spark02"]}
    asked = {"spark02": health(), **({"spark01": head} if head else {})}
    report = report_fleet.build(["spark02"], asked, {}, {"spark01": wanted, "spark02": wanted}, NOW)
    (row,) = report["hosts"]
    assert (row["verdict"], (row["cause"] or {}).get("id")) == (verdict, cause)
