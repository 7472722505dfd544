# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of hosts and of what differs between them, from results as vllm_health and spark_info give them."""

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
from fleet_results import IMAGE, LISTENER, MODEL, NOW, WANTED, build, fleet, found, health, spark, table_of

Facts = dict[str, t.Any]


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
