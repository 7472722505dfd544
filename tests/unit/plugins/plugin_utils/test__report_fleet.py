# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a fleet and its text, from results as vllm_health and spark_info give them."""

from __future__ import annotations

import json
import re
import typing as t
from string import Formatter

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import condition
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet as report_fleet
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet_table
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.notes import NOTES, STORED, UNSEEN

Facts = dict[str, t.Any]

NOW = 1795446000.0  # 2026-11-23T15:00:00Z
MODEL = "Qwen/Qwen3-8B-FP8"
IMAGE = "nvcr.io/nvidia/vllm:25.09-py3"
WANTED = {"model": MODEL, "image": IMAGE}
FIRMWARE = {"dgx_os": "7.5.0", "bios": "5.36_0ACUM018", "vbios": "9A.0B.2D.00.00", "connectx7": "28.45.4028"}


def health(verdict: str = "ready", cause: str | None = None, **values: t.Any) -> Facts:
    metrics = {
        "running": 8,
        "waiting": 0,
        "kv_cache_usage": 0.034,
        "preemptions": 0,
        "prefix_cache_queries": 210000,
        "prefix_cache_hits": 149000,
        "prefix_cache_hit_rate": 0.7095,
        "draft_tokens": None,
        "draft_acceptance_rate": None,
        "generation_tokens_per_second": 402.5,
        "prompt_tokens_per_second": 1890.0,
    }
    metrics.update({key: values.pop(key) for key in list(values) if key in metrics})
    return {
        "changed": False,
        "verdict": verdict,
        "phase": "ready" if verdict == "ready" else None,
        "progress": {"percent": None},
        "cause": {**condition(cause, "the line")._asdict()} if cause else None,
        "previous_cause": None,
        "hint": None,
        "idle_seconds": None,
        "model": MODEL if verdict == "ready" else None,
        "vllm_version": "0.10.1.1",
        "kv_cache_tokens": 623104,
        "metrics": metrics if verdict == "ready" else None,
        "container": {
            "status": "running" if verdict in ("ready", "loading", "degraded", "stuck") else "exited",
            "image": IMAGE,
            "started_at": "2026-11-23T12:55:00.123456789Z",
            "labels": {
                "dgxspark.vllm.profile": "throughput",
                "dgxspark.vllm.release": "3f1c9a0b7d2e",
                "dgxspark.vllm.planned_tokens": "640000",
            },
        },
        **values,
    }


def spark(driver: str = "580.95.05", load: int = 96, clock: int = 2418, gib: float = 12.0, **firmware: str) -> Facts:
    return {
        "gpu": {"driver": driver, "temperature_c": 68, "sm_clock_mhz": clock, "utilization_percent": load},
        "throttle": {"throttled": clock < 1500 if load > 80 else None, "reason": "…"},
        "memory": {"total_bytes": 130 * 1024**3, "available_bytes": int(gib * 1024**3)},
        "low_memory": {"low": gib < 3, "reason": "…"},
        "firmware": {**FIRMWARE, **firmware},
    }


def build(healths: t.Mapping[str, Facts | None], sparks: t.Mapping[str, Facts | None] | None = None) -> Facts:
    known = {name: spark() for name in healths} if sparks is None else sparks
    return report_fleet.build(list(healths), healths, known, dict.fromkeys(healths, WANTED), NOW)


def fleet(number: int) -> dict[str, Facts | None]:
    return {f"spark{count:02}": health() for count in range(1, number + 1)}


def table_of(report: Facts) -> list[str]:
    return fleet_table.render(report).split("\n\n", 1)[0].splitlines()


def found(report: Facts, name: str) -> list[tuple[list[str], str]]:
    return [(note["hosts"], note["meaning"]) for note in report["notes"] if note["id"] == name]


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


# --- notes --------------------------------------------------------------------------------------------------------


def test_notes_do_not_make_a_host_unhealthy() -> None:
    report = build({"spark01": health(preemptions=3)})
    assert report["unhealthy"] == []
    count = "the KV cache ran full and requests had to give theirs up: 3 preemptions since the server started"
    assert found(report, "preemptions") == [(["spark01"], count)]
    assert fleet_table.render(report).split("\n\n")[2].splitlines()[:2] == ["Notes", f"spark01 | {count}"]


SHOWN = {
    **condition("machine_xid", "NVRM: Xid (PCI:000f:01:00): 79, GPU has fallen off the bus")._asdict(),
    "link": "x",
}


def test_what_the_machine_shows_while_all_is_well() -> None:
    report = build({"spark01": health(machine=[SHOWN]), "spark02": health(machine=[])})
    assert report["unhealthy"] == []
    assert found(report, "machine_xid") == [(["spark01"], SHOWN["meaning"])]
    lines = fleet_table.render(report).split("\n\n")[2].splitlines()
    assert lines[:2] == ["Notes", f"spark01 | {SHOWN['meaning']}"]
    assert lines[3] == f"    seen:   {SHOWN['evidence']}"
    assert len(lines) == 4


def test_what_the_machine_shows_is_said_once() -> None:
    state = health("failed", cause="killed", machine=[SHOWN])
    state["cause"]["meaning"] += f"; {SHOWN['meaning']}"
    assert build({"spark01": state})["notes"] == []
    lines = [health(machine=[{**SHOWN, "evidence": line}]) for line in ("one", "one", "two")]
    report = build(dict(zip("abc", lines, strict=True)))
    assert [hosts for hosts, _meaning in found(report, "machine_xid")] == [["a", "b"], ["c"]]


def test_a_kernel_that_is_known_to_be_bad() -> None:
    fault = {"what": "kernel 1.2: it panics", "remedy": "Take kernel 1.3"}
    report = report_fleet.build(["a", "b"], fleet(0), {}, {}, NOW, {"a": [fault], "b": []})
    assert found(report, "host_fault") == [(["a"], "kernel 1.2: it panics")]
    assert "a | kernel 1.2: it panics\n    remedy: Take kernel 1.3" in fleet_table.render(report)


def test_a_throttled_gpu() -> None:
    report = build(fleet(2), {"spark01": spark(), "spark02": spark(clock=611)})
    assert found(report, "gpu_throttled") == [
        (
            ["spark02"],
            "the GPU is throttled: its SM clock is 611 MHz at 96 % load, at least 1500 MHz are expected",
        )
    ]
    assert [line.split()[-1] for line in table_of(report)] == ["throttled", "no", "yes"]


def test_an_idle_gpu_is_not_judged() -> None:
    report = build(fleet(1), {"spark01": spark(load=0, clock=208)})
    assert found(report, "gpu_throttled") == []
    assert table_of(report)[1].split()[-1] == "-"


def test_low_memory() -> None:
    ((hosts, meaning),) = found(build(fleet(2), {"spark01": spark(), "spark02": spark(gib=2.5)}), "low_memory")
    assert hosts == ["spark02"]
    assert meaning.startswith("only 2.5 GiB of memory are available")


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("preemptions", {"preemptions": 0}, False),
        ("preemptions", {"preemptions": None}, False),
        ("kv_nearly_full", {"kv_cache_usage": 0.95, "waiting": 1}, True),
        ("kv_nearly_full", {"kv_cache_usage": 0.949, "waiting": 1}, False),
        ("kv_nearly_full", {"kv_cache_usage": 1.0, "waiting": 0}, False),
        ("kv_nearly_full", {"kv_cache_usage": None, "waiting": 1}, False),
        ("single_requests", {"running": 1, "generation_tokens_per_second": 23.0}, True),
        ("single_requests", {"running": 0, "generation_tokens_per_second": 23.0}, True),
        ("single_requests", {"running": 1, "generation_tokens_per_second": 0.0}, False),
        ("single_requests", {"running": 0, "generation_tokens_per_second": 1.0}, False),  # a canary's token
        ("single_requests", {"running": 1, "generation_tokens_per_second": None}, False),
        ("single_requests", {"running": 1, "waiting": 1}, False),
        ("single_requests", {"running": 2}, False),
        ("single_requests", {"running": None, "waiting": None}, False),
        ("no_prefix_hits", {"prefix_cache_queries": 100_000, "prefix_cache_hits": 0}, True),
        ("no_prefix_hits", {"prefix_cache_queries": 99_999, "prefix_cache_hits": 0}, False),
        ("no_prefix_hits", {"prefix_cache_queries": 100_000, "prefix_cache_hits": 1}, False),
        ("no_prefix_hits", {"prefix_cache_queries": 100_000, "prefix_cache_hits": None}, False),
        ("no_prefix_hits", {"prefix_cache_queries": None, "prefix_cache_hits": None}, False),
        ("drafts_rejected", {"draft_tokens": 10_000, "draft_acceptance_rate": 0.19}, True),
        ("drafts_rejected", {"draft_tokens": 10_000, "draft_acceptance_rate": 0.0}, True),
        ("drafts_rejected", {"draft_tokens": 10_000, "draft_acceptance_rate": 0.2}, False),
        ("drafts_rejected", {"draft_tokens": 9_999, "draft_acceptance_rate": 0.0}, False),
        ("drafts_rejected", {"draft_tokens": None, "draft_acceptance_rate": None}, False),
    ],
)
def test_notes_on_the_service(name: str, values: Facts, expected: bool) -> None:
    assert bool(found(build({"spark01": health(**values)}), name)) is expected


def test_the_column_of_the_drafts_is_there_if_any_host_drafts() -> None:
    plain = {"spark01": health(), "spark02": health()}
    assert "drafts" not in fleet_table.render(build(plain))
    head, first, second = fleet_table.table(
        build({**plain, "spark02": health(draft_acceptance_rate=0.714)})["hosts"]
    ).splitlines()
    at = head.index("drafts")
    assert (first[at : at + 6].strip(), second[at : at + 6].strip()) == ("-", "71 %")


def test_an_older_result_without_rates() -> None:
    state = health()
    del state["metrics"]["generation_tokens_per_second"], state["idle_seconds"]
    report = build({"spark01": state})
    assert (report["notes"], table_of(report)[1].split()[-4]) == ([], "-")


def test_another_image_than_the_inventory_wants() -> None:
    states = fleet(2)
    other = health()
    other["container"] = {**other["container"], "image": "nvcr.io/nvidia/vllm:26.02-py3"}
    states["spark02"] = other
    assert found(build(states), "other_image") == [
        (["spark02"], f"nvcr.io/nvidia/vllm:26.02-py3 runs, and the inventory wants {IMAGE}")
    ]
    other["container"]["status"] = "exited"  # what does not run, does not differ
    assert found(build(states), "other_image") == []


def test_the_same_note_is_said_once_for_all_its_hosts() -> None:
    states = {"a": health(preemptions=1), "b": health(preemptions=2), "c": health(preemptions=1)}
    report = build(states)
    assert [hosts for hosts, _meaning in found(report, "preemptions")] == [["a", "c"], ["b"]]


# --- drift --------------------------------------------------------------------------------------------------------


def drift(*drivers: str | None) -> list[tuple[list[str], str]]:
    names = [f"s{number}" for number in range(len(drivers))]
    sparks = {name: spark() | {"gpu": {"driver": driver}} for name, driver in zip(names, drivers, strict=True)}
    return found(build(dict.fromkeys(names, health()), sparks), "driver_drift")


@pytest.mark.parametrize("drivers", [("580.1",), ("580.1",) * 2, ("580.1",) * 16, ("580.1", None, None), (None,) * 3])
def test_no_drift(drivers: tuple[str | None, ...]) -> None:
    assert drift(*drivers) == []


@pytest.mark.parametrize(
    ("drivers", "notes"),
    [
        (("1.0", "1.0", "2.0"), [(["s2"], "is 2.0; 2 of 3 hosts have 1.0")]),
        (("2.0", "1.0", "1.0", None), [(["s0"], "is 2.0; 2 of 3 hosts have 1.0")]),
        (
            ("1.0",) * 13 + ("2.0", "3.0", "2.0"),
            [(["s13", "s15"], "is 2.0; 13 of 16 hosts have 1.0"), (["s14"], "is 3.0; 13 of 16 hosts have 1.0")],
        ),
    ],
)
def test_drift_from_the_majority(drivers: tuple[str | None, ...], notes: list[tuple[list[str], str]]) -> None:
    assert drift(*drivers) == [(hosts, f"the version of the GPU driver {differs}") for hosts, differs in notes]


@pytest.mark.parametrize(
    ("drivers", "differs"),
    [
        (("1.0", "2.0"), "1.0 on s0; 2.0 on s1"),
        (("1.0", "2.0", None), "1.0 on s0; 2.0 on s1"),
        (("1.0", "2.0", "3.0"), "1.0 on s0; 2.0 on s1; 3.0 on s2"),
        (("1.0", "2.0", "2.0", "1.0"), "1.0 on s0, s3; 2.0 on s1, s2"),
        # the largest group is no majority
        (("1.0", "1.0", "2.0", "3.0"), "1.0 on s0, s1; 2.0 on s2; 3.0 on s3"),
    ],
)
def test_drift_without_a_majority(drivers: tuple[str | None, ...], differs: str) -> None:
    known = [f"s{number}" for number, driver in enumerate(drivers) if driver]
    assert drift(*drivers) == [(known, f"the version of the GPU driver differs: {differs}")]


def test_drift_of_firmware_names_the_part() -> None:
    sparks = {"a": spark(), "b": spark(), "c": spark(vbios="9A.0B.2C.00.00", dgx_os="7.2.3", mt4125="22.1")}
    report = build(dict.fromkeys(sparks, health()), sparks)
    assert found(report, "firmware_drift") == [
        (["c"], "the firmware VBIOS is 9A.0B.2C.00.00; 2 of 3 hosts have 9A.0B.2D.00.00")
    ]
    assert found(report, "dgx_os_drift") == [(["c"], "the release of DGX OS is 7.2.3; 2 of 3 hosts have 7.5.0")]


def test_drift_of_the_whole_fleet_is_said_of_all_hosts() -> None:
    report = build(fleet(2), {"spark01": spark("1.0"), "spark02": spark("2.0")})
    assert "\nall hosts | the version of the GPU driver differs: 1.0 on spark01; 2.0 on" in fleet_table.render(report)


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
    meaning = "release 3f1c9a0b7d2e runs, and the inventory wants ba9876543210: "
    assert [text.startswith(meaning) for _hosts, text in found(report, "release_drift")] == [True] * is_noted


@pytest.mark.parametrize("image", [IMAGE, "other:1"])
@pytest.mark.parametrize(("failed", "is_failed"), [({"ba9876543210": NOW}, True), ({"111111111111": NOW}, False)])
def test_a_wanted_release_that_failed_is_not_advised_again(
    image: str, failed: dict[str, float], is_failed: bool
) -> None:
    state = health(failed_releases=failed)
    wanted = {"model": MODEL, "image": image, "release": "ba9876543210"}
    report = report_fleet.build(["a"], {"a": state}, {"a": spark()}, {"a": wanted}, NOW)
    said = "release 3f1c9a0b7d2e runs, and the inventory wants ba9876543210, which was started on 2026-11-23 15:00 UTC"
    assert found(report, "wanted_failed") == [(["a"], f"{said} and never proven")] * is_failed
    advised = [note for note in ("release_drift", "other_image") if found(report, note)]
    assert advised == ([] if is_failed else ["release_drift" if image == IMAGE else "other_image"])


def test_what_others_leave_of_the_memory_is_said_where_the_release_differs() -> None:
    share = "0.43 (23.5 GiB, less 10 GiB of vllm_memory_reserve_gib, less 3.4 GiB of vllm-two)"
    for release, notes in (
        ("ba9876543210", [(["a"], f"of the memory the release that the inventory wants would get {share}")]),
        ("3f1c9a0b7d2e", []),
    ):
        wanted = {**WANTED, "release": release, "share": share}
        report = report_fleet.build(["a"], {"a": health()}, {"a": spark()}, {"a": wanted}, NOW)
        assert found(report, "share_capped") == notes


@pytest.mark.parametrize(
    ("beside", "says"),
    [
        ([], []),
        (["vllm-two"], ["vllm-two of this collection runs here"]),
        (["a", "b"], ["a, b of this collection run here"]),
    ],
)
def test_services_that_no_row_judges(beside: list[str], says: list[str]) -> None:
    report = report_fleet.build(["a"], {"a": health()}, {"a": spark()}, {"a": {**WANTED, "beside": beside}}, NOW)
    assert [
        text[: len(line)] for (_hosts, text), line in zip(found(report, "services_beside"), says, strict=True)
    ] == says
    assert report["unhealthy"] == []


def test_a_long_line_of_evidence_is_cut() -> None:
    cause = {**condition("exited", "x" * 5000)._asdict(), "link": None}
    text = fleet_table.render(build({"spark01": health("failed") | {"cause": cause}}))
    assert max(map(len, text.splitlines())) < 400


# --- the data -----------------------------------------------------------------------------------------------------


def test_notes_have_an_id_of_their_own_and_say_what_to_do() -> None:
    every = [*NOTES, *UNSEEN, *STORED]
    assert len({note.id for note in every}) == len(every)
    for note in every:
        assert re.fullmatch(r"[a-z][a-z_]+", note.id)
        assert note.meaning and note.remedy
        for text in (note.meaning, note.remedy):
            assert not text.endswith("."), note.id
        assert {field for _text, field, *_rest in Formatter().parse(note.remedy)} == {None}, (
            note.id
        )  # only the meaning holds numbers


@pytest.mark.parametrize(
    ("real", "planned", "cell", "is_noted"),
    [
        (623104, "640000", "623K/640K", False),
        (2097152, "2097152", "2.10M/2.10M", False),
        (575000, "640000", "575K/640K", True),
        (900, "900", "900/900", False),
        (623104, None, "623K/-", False),
        (623104, "many", "623K/-", False),
        (None, "640000", "-/640K", False),
    ],
)
def test_the_plan_beside_what_vllm_reports(real: int | None, planned: str | None, cell: str, is_noted: bool) -> None:
    state = health(kv_cache_tokens=real)
    state["container"]["labels"]["dgxspark.vllm.planned_tokens"] = planned
    report = build({"spark01": state})
    assert f" {cell} " in table_of(report)[1]
    assert ("kv_below_plan" in [note["id"] for note in report["notes"]]) is is_noted


@pytest.mark.parametrize(
    ("real", "least", "is_noted"),
    [
        (575_000, "500000", False),  # the plan was no more certain than that
        (499_999, "500000", True),
        (575_000, "640000", True),  # the size was given
        (580_000, "640000", False),
        (575_000, "many", True),
    ],
)
def test_the_plan_is_as_uncertain_as_it_says(real: int, least: str, is_noted: bool) -> None:
    state = health(kv_cache_tokens=real)
    labels = {"dgxspark.vllm.planned_tokens": "640000", "dgxspark.vllm.planned_tokens_least": least}
    state["container"]["labels"].update(labels)
    assert ("kv_below_plan" in [note["id"] for note in build({"spark01": state})["notes"]]) is is_noted


LISTENER = {"port": 8000, "pid": 7, "process": "docker-proxy", "container": "by-hand"}


@pytest.mark.parametrize(
    ("verdict", "listener", "said"),
    [
        ("failed", LISTENER, ["port 8000 is held by the container by-hand, so the service cannot start there"]),
        (
            "absent",
            {**LISTENER, "container": None, "process": "nginx"},
            ["port 8000 is held by process nginx (pid 7), so the service cannot start there"],
        ),
        ("failed", None, []),
        ("waiting", LISTENER, []),  # of the service that has the turn
    ],
)
def test_who_holds_the_port_of_a_service_that_does_not_run(
    verdict: str, listener: Facts | None, said: list[str]
) -> None:
    report = build({"a": health(verdict, "stopped")}, {"a": {**spark(), "listener": listener}})
    assert [text for _hosts, text in found(report, "port_held")] == said


def test_every_note_is_said_by_somebody() -> None:
    worst = health(
        preemptions=1, kv_cache_usage=1.0, waiting=1, prefix_cache_hits=0, generation_tokens_per_second=1.0, running=1
    )
    worst["container"]["image"] = "another:1"
    worst["metrics"].update(draft_tokens=20_000, draft_acceptance_rate=0.0)
    worst["kv_cache_tokens"], worst["nccl_network"] = 400_000, "Socket"
    single = health(running=1)
    sparks = {"a": spark("1.0", clock=611, gib=1, vbios="x", dgx_os="1"), "b": spark("2.0")}
    faults = {"a": [{"what": "kernel 1.2: it panics", "remedy": "Take kernel 1.3"}]}
    healths = {"a": worst, "b": single, "c": health("failed", "stopped")}
    sparks["c"] = {**spark("1.0"), "listener": LISTENER}
    healths |= {"d": health("loading"), "e": health(failed_releases={"ba9876543210": NOW})}
    healths["d"]["container"]["labels"] = {}
    wanted = {"a": WANTED, "b": {**WANTED, "release": "ba9876543210", "share": "0.43", "beside": ["vllm-two"]}}
    wanted["e"] = {**WANTED, "release": "ba9876543210"}
    report = report_fleet.build(list(healths), healths, sparks, wanted, NOW, faults)
    assert {note["id"] for note in report["notes"]} == {note.id for note in NOTES}
    assert "{" not in json.dumps([note["meaning"] for note in report["notes"]])


RUNS: dict[str, t.Any] = {"status": "running", "image": "a", "name": "vllm-1"}


@pytest.mark.parametrize(
    ("labels", "verdict"),
    [({}, "not managed"), ({"dgxspark.vllm.release": "0123456789ab"}, "ready"), (None, "ready")],
)
def test_a_server_of_others_is_not_ready(labels: dict[str, str] | None, verdict: str) -> None:
    """Without labels nothing is known of whose it is."""
    health = {"a": {"verdict": "ready", "container": {**RUNS, "labels": labels}}}
    report = report_fleet.build(["a"], health, {}, {}, 0.0)
    assert report["hosts"][0]["verdict"] == verdict
    assert report["unhealthy"] == ([] if verdict == "ready" else ["a"])


@pytest.mark.parametrize(
    ("labels", "status", "verdict"),
    [
        ({}, "running", "not managed"),
        ({}, "paused", "degraded"),
        ({"dgxspark.vllm.release": "0123456789ab"}, "running", "degraded"),
    ],
)
def test_a_server_of_others_may_differ_from_the_wish(labels: dict[str, str], status: str, verdict: str) -> None:
    """To deploy again, or to stop it, would be the wrong advice for it."""
    cause = {**report_fleet.unseen("check_failed", "served: my-model; wanted: org/a"), "id": "wrong_model"}
    health = {"a": {"verdict": "degraded", "cause": cause, "container": {**RUNS, "status": status, "labels": labels}}}
    [host] = report_fleet.build(["a"], health, {}, {}, 0.0)["hosts"]
    assert host["verdict"] == verdict
    if verdict == "not managed":
        assert "take it over with playbooks/deploy.yml" in host["cause"]["remedy"]
        assert host["cause"]["evidence"] == "container vllm-1; served: my-model; wanted: org/a"


@pytest.mark.parametrize("verdict", ["failed", "stuck", "loading"])
def test_of_a_server_of_others_no_variable_is_the_remedy(verdict: str) -> None:
    """It is restarted in a loop, and each look finds it in another state of that."""
    token = {**condition("killed")._asdict(), "remedy": "replace vllm_hf_token", "change": {"vllm_max_model_len": 1}}
    state = health(verdict, previous_cause=token, service=None)
    state["cause"] = None if verdict == "loading" else token
    state["container"].update(labels={}, name="by-hand")
    report = build({"a": state})
    host = report["hosts"][0]
    for cause in filter(None, (host["cause"], host["previous_cause"])):
        assert cause["meaning"].endswith("(container by-hand, which is not of this collection)")
        assert cause["remedy"].startswith("do the same in its own environment or options, where it was started")
        assert cause["change"] == {}
    assert [len(found(report, "others_container"))] == [verdict == "loading"]
    ours = build({"a": {**state, "service": {"active_state": "failed"}}})  # the fault may be that of our unit
    assert ours["hosts"][0]["previous_cause"] == token
    assert found(ours, "others_container") == []


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ({"id": "paused", "remedy": "docker unpause"}, "docker unpause"),  # that helps whoever started it
        (
            {"id": "stopped", "remedy": "playbooks/restart.yml"},
            "start it again as it was started, or with `docker start x`",
        ),
    ],
)
def test_a_server_of_others_keeps_a_remedy_that_helps_it(cause: dict[str, t.Any], remedy: str) -> None:
    known = {**condition("killed")._asdict(), **cause}
    container = {"name": "x", "labels": {}, "status": "exited"}
    told = report_fleet.for_its_owner(known, {"container": container, "service": None})
    assert told and told["remedy"] == remedy


@pytest.mark.parametrize(
    ("docker", "nodes", "is_told"),
    [(True, ["a"], True), (False, ["a"], False), (True, ["head", "a"], False)],
)
def test_who_holds_the_port_is_told_where_that_is_known(docker: bool, nodes: list[str], is_told: bool) -> None:
    """Without Docker's answer it may be the server itself; a worker of several hosts needs no port."""
    listener = {"port": 8000, "pid": 7, "process": "python3", "container": None}
    host = {**spark(), "listener": listener, "docker": {"running": docker}}
    report = report_fleet.build(["a"], {"a": health("failed")}, {"a": host}, {"a": {"nodes": nodes}}, NOW)
    assert bool(found(report, "port_held")) is is_told


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
