# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records, what they are compared with, and how they are shown, drawn and exported."""

from __future__ import annotations

import builtins
import json
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.benchmark import Cell, parse_result
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark import plot, record, store, table
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog

Facts = dict[str, t.Any]

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm" / "0.24"
SERVICES = [{"service": "vllm"}, {"service": "vllm-small"}]
SPARK = {"is_spark": True, "os": {"kernel": "6.17"}, "gpu": {"driver": "580.142", "name": "NVIDIA GB10"}}
ENTRY = Catalog().model("qwen3-8b-fp8")
CLAIMS = [
    {"concurrency": 1, "low": 9, "high": 10, "source": "the guide"},
    {"concurrency": 64, "low": 450, "high": 500, "source": "the guide"},
]
SERVER: Facts = {
    "service": "vllm",
    "model": "Qwen/Qwen3-8B-FP8",
    "profile": "throughput",
    "vllm_version": "0.24.0",
    "image": "nvcr.io/nvidia/vllm:26.06-py3",
    "options": ["--max-num-seqs", "64", "--enable-prefix-caching"],
    "gpu": {"temperature_c": 41, "sm_clock_mhz": 208},
}


def run(concurrency: int, factor: float = 1.0, repetition: int = 1, **changes: t.Any) -> Facts:
    """A run with what an H200 gave, at another speed."""
    name = {1: "c1", 32: "c32", 64: "c64"}[concurrency]
    result = parse_result((FIXTURES / f"bench_serve_{name}.json").read_text())
    assert result is not None
    result["output_throughput"] *= factor
    for latency in ("ttft", "tpot"):
        result[f"median_{latency}_ms"] /= factor
    return {
        "cell": Cell(name, concurrency, result["completed"], 128, 256).as_dict(),
        "repetition": repetition,
        "seed": 1,
        "problem": None,
        "result": result,
        "settled": {"idle": True, "cool": True, "requests": 0, "temperature_c": 41, "waited_seconds": 0.0},
        "gpu_before": None,
        "gpu_during": {"throttled": False},
        "gpu_after": None,
        "server": {"others": False, "preemptions": 0},
        **changes,
    }


def measured(
    *runs: Facts, moment: str = "2026-11-28T18:00:00Z", earlier: t.Sequence[Facts] = (), **changes: t.Any
) -> Facts:
    found: Facts = {
        "complete": True,
        "reason": None,
        "too_long": {},
        "not_run": [],
        "runs": list(runs),
        "server": SERVER,
    }
    made = record.build("spark01", "guide", moment, {**found, **changes}, SPARK, ENTRY)
    made["comparison"] = record.judge(made, earlier)
    return made


def three(concurrency: int, factor: float = 1.0) -> list[Facts]:
    return [run(concurrency, factor * noise, number) for number, noise in enumerate((0.99, 1.0, 1.01), 1)]


FIRST = measured(*three(1), *three(64), moment="2026-11-27T18:00:00Z")
HALVED = {**SERVER, "options": ["--max-num-seqs", "32", "--enable-prefix-caching"]}


def test_a_repeat_is_no_regression() -> None:
    again = measured(*three(1, 1.01), *three(64, 0.99), earlier=[FIRST])
    assert again["comparison"]["regressions"] == []
    assert again["comparison"]["compared_with"] == ["2026-11-27T18:00:00Z"]
    assert again["comparison"]["since"] == []
    assert table.render(again, []).count("no change beyond noise") == 2


def test_a_regression_is_named_with_what_has_changed() -> None:
    worse = measured(*three(1), *three(64, 0.56), earlier=[FIRST], server=HALVED)
    assert worse["comparison"]["regressions"] == ["c64"]
    shown = table.render(worse, CLAIMS)
    (line,) = [line for line in shown.splitlines() if line.startswith("c64")]
    assert "-44 %" in line
    assert "regression: tokens/s 8292.8 -> 4644.0 (noise 5 %)" in line
    assert "changed since the run before: options: --max-num-seqs 64 -> --max-num-seqs 32" in shown


@pytest.mark.parametrize("width", [80, 110])
def test_a_record_is_within_the_terminal(width: int) -> None:
    worse = measured(*three(1), *three(64, 0.56), earlier=[FIRST], server=HALVED)
    shown = table.render(worse, CLAIMS, width, wraps=True)
    assert max(map(len, shown.splitlines())) <= width, shown
    assert "tokens/s" in shown and "-44 %" in shown
    assert "regression: tokens/s 8292.8 -> 4644.0 (noise 5 %)" in " ".join(shown.split())


def test_a_regression_is_not_what_later_runs_are_compared_with() -> None:
    worse = measured(*three(64, 0.5), earlier=[FIRST], moment="2026-11-28T01:00:00Z")
    again = measured(*three(64, 0.5), earlier=[FIRST, worse])
    assert again["comparison"]["regressions"] == ["c64"]
    assert again["comparison"]["compared_with"] == [FIRST["time"]]


@pytest.mark.parametrize("changes", [{"profile": "latency"}, {"model": "a/b"}, {"service": "vllm-small"}])
def test_other_services_are_not_compared(changes: Facts) -> None:
    found = measured(*three(64, 0.5), earlier=[FIRST], server={**SERVER, **changes})
    assert found["comparison"]["changes"] == {}
    assert "first measurement" in table.render(found, [])


def test_another_shape_under_the_same_name_is_not_compared() -> None:
    runs = [{**one, "cell": {**one["cell"], "output_tokens": 128}} for one in three(64, 0.5)]
    assert measured(*runs, earlier=[FIRST])["comparison"]["changes"] == {}


def test_five_earlier_runs_count() -> None:
    earlier = [measured(*three(64), moment=f"2026-11-{day:02d}T00:00:00Z") for day in range(1, 9)]
    assert len(measured(*three(64), earlier=earlier)["comparison"]["compared_with"]) == record.EARLIER


def test_what_is_to_be_known_is_said() -> None:
    hot = {"idle": False, "cool": False, "requests": 3, "temperature_c": 80, "waited_seconds": 120.0}
    found = measured(
        run(1, settled=hot, gpu_during={"throttled": True}, server={"others": True, "preemptions": 2}),
        run(64, result=None, problem="c64: 0 of 256 requests succeeded: no output"),
        complete=False,
        reason="c64: 0 of 256 requests succeeded: no output",
        not_run=["prefix"],
        too_long={"d32768-c1": "needs 34944 tokens, the model is served with 32768"},
    )
    shown = table.render(found, CLAIMS)
    for line in (
        "c1: the server was not idle before the run",
        "c1: the GPU was not cool before the run",
        "c1: others used the server during the run",
        "c1: the GPU was throttled: see playbooks/health.yml",
        "c1: requests were preempted: the KV cache is too small",
        "d32768-c1: skipped, it needs 34944 tokens, the model is served with 32768",
        "not complete: c64: 0 of 256 requests succeeded: no output; not measured: prefix",
        "claimed at concurrency 64: 450 to 500 tokens/s (the guide)",
        "roofline: 33.3 tokens/s for one stream",
    ):
        assert line in shown
    assert "failed" in next(line for line in shown.splitlines() if line.startswith("c64"))


def test_only_claims_of_what_was_measured_are_shown() -> None:
    shown = table.render(measured(*three(1)), CLAIMS)
    assert "claimed at concurrency 1: 9 to 10 tokens/s (the guide)" in shown
    assert "claimed at concurrency 64" not in shown


def test_figures_that_are_to_be_doubted() -> None:
    rate = float(run(1)["result"]["output_throughput"])
    slow = 0.5 * FIRST["roofline"] / rate
    wide = [run(1, slow * factor, number) for number, factor in enumerate((0.2, 1.0, 1.4), 1)]
    assert record.warnings(measured(*wide)) == [
        "c1: its repetitions differ by ± 60 %, so the median says little: measure again"
    ]
    assert record.warnings(measured(*three(1, slow))) == []
    (above,) = record.warnings(measured(*three(1, 4 * slow)))
    assert above.startswith("c1: more tokens/s than the roofline: with speculative decoding its accepted drafts")


def test_another_service_of_the_host_is_named() -> None:
    both = record.build("x", "guide", "t", {"server": SERVER, "runs": []}, {**SPARK, "services": SERVICES}, ENTRY)
    assert record.warnings(both) == ["other services of this host share its GPU: vllm-small"]


def test_the_roofline_is_that_of_a_spark_and_of_the_models_weights() -> None:
    assert FIRST["roofline"] == 33.3
    other = record.build("x", "guide", "t", {"server": {**SERVER, "model": "a/b"}, "runs": []}, SPARK, {})
    assert (other["roofline"], other["published"]) == (None, None)
    elsewhere = record.build("x", "guide", "t", {"server": SERVER, "runs": []}, {**SPARK, "is_spark": False}, ENTRY)
    assert elsewhere["roofline"] is None


# --- export -------------------------------------------------------------------------------------------------------


def test_the_export_is_an_entry_of_the_catalog_with_its_mark() -> None:
    entry = yaml.safe_load(table.catalog_entry(FIRST) or "")
    assert entry["tokens_per_second"] == 234.9  # 1000 / 4.257
    source = entry["sources"]["tokens_per_second"]
    assert source.startswith("M: own run of 2026-11-27, one stream on one Spark, vLLM 0.24.0, driver 580.142")
    assert "128 tokens in and 256 out, median of 3" in source
    own = {"mine": {**{key: ENTRY[key] for key in ("id", "weights_bytes", "layers")}, **entry}}
    own["mine"].update({key: ENTRY[key] for key in ("kv_heads", "head_dim", "native_context")})
    assert Catalog().model("mine", own)["tokens_per_second"] == 234.9


def test_nothing_to_export_without_one_stream() -> None:
    assert table.catalog_entry(measured(*three(64))) is None


def test_other_hardware_is_named() -> None:
    assert "on one NVIDIA GB10," in str(table.catalog_entry({**FIRST, "is_spark": False}))


# --- the folder ---------------------------------------------------------------------------------------------------


def test_records_are_read_in_the_order_of_time_and_the_rest_is_named(tmp_path: Path) -> None:
    folder = store.place(str(tmp_path), "spark01")
    assert store.earlier(folder) == ([], [])
    folder.mkdir()
    late = {**FIRST, "time": "2026-11-28T18:00:00Z"}
    for made in (late, FIRST):
        (folder / f"{store.name_of(made)}.json").write_text(json.dumps(made))
    (folder / "2026-11-26T00-00-00Z-quick.json").write_text("{")
    (folder / "2026-11-25T00-00-00Z-quick.json").write_text('{"format": 99}')
    edited = {**FIRST, "cells": [{**FIRST["cells"][0], "repetitions": [{"result": None}]}]}
    (folder / "2026-11-24T00-00-00Z-quick.json").write_text(json.dumps(edited))
    (folder / "notes.json").write_text("{")
    records, lines = store.earlier(folder)
    assert records == [FIRST, late]
    assert [line.partition(" is ignored")[0].rpartition("/")[2] for line in lines] == [
        "2026-11-24T00-00-00Z-quick.json",
        "2026-11-25T00-00-00Z-quick.json",
        "2026-11-26T00-00-00Z-quick.json",
    ]


@pytest.mark.parametrize(
    ("host", "name"), [("spark01", "spark01"), ("../../etc", "_.._etc"), ("..", "_"), ("a:22", "a_22")]
)
def test_no_host_leaves_the_folder(host: str, name: str) -> None:
    assert store.place("/x", host) == Path("/x") / name


def test_a_second_service_has_its_name_in_the_file() -> None:
    assert store.name_of(FIRST) == "2026-11-27T18-00-00Z-guide"
    small = {**FIRST, "server": {**SERVER, "service": "vllm-small"}}
    assert store.name_of(small) == "2026-11-27T18-00-00Z-guide-vllm-small"


# --- plots --------------------------------------------------------------------------------------------------------


def test_the_plots_show_the_figures_and_what_bounds_them() -> None:
    drawing = plot.draw(FIRST, CLAIMS)
    ET.fromstring(drawing)
    for text in (
        "spark01: Qwen/Qwen3-8B-FP8, profile throughput, vLLM 0.24.0, guide, 2026-11-27 18:00 UTC",
        "measured, 128 in, 256 out",
        "roofline (memory bandwidth, weights)",
        "claimed by the guide",
        "TTFT, 128 in, 256 out",
        "requests at a time",
    ):
        assert text in drawing
    assert "published" not in drawing  # nobody has published the speed of this model
    assert plot.draw(FIRST, CLAIMS) == drawing
    assert "published, one stream" in plot.draw({**FIRST, "published": 25.0, "published_source": "M: x"}, [])


def test_a_run_without_any_figure_is_drawn_too() -> None:
    ET.fromstring(plot.draw(measured(run(64, result=None, problem="x"), complete=False, reason="x"), []))


def test_without_matplotlib_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: t.Any) -> t.Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(plot.MissingLibrary, match="no plots: .*pip install matplotlib$"):
        plot.draw(FIRST, [])


def test_a_record_of_a_real_gpu_is_shown_and_drawn() -> None:
    found: Facts = json.loads((FIXTURES.parents[1] / "h200" / "benchmark-guide.json").read_text())
    text = table.render(found, [])
    for words in ("driver 580.159.04, mode guide, GPU 37 °C, 1980 MHz before", "5137.1", "2048+128"):
        assert words in text
    assert sum(len(cells) for cells in plot.series(found).values()) == 6
    assert ET.fromstring(plot.draw(found, CLAIMS)).tag.endswith("svg")
