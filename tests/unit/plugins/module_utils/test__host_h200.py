# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers on the output of a real driver, of a GPU that is no GB10. tests/gpu/observe.py recorded it."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._host import spark

H200 = Path(__file__).parents[4] / "tests" / "fixtures" / "h200"


def gpu(state: str) -> spark.Facts:
    found = spark.parse_gpu((H200 / f"nvidia-smi-{state}.csv").read_text(), (H200 / "nvidia-smi-load.txt").read_text())
    assert found is not None
    return found


def test_fields_of_a_real_driver() -> None:
    found = gpu("load")
    assert (found["name"], found["driver"], found["cuda"]) == ("NVIDIA H200", "580.159.04", "13.0")
    assert (found["utilization_percent"], found["temperature_c"]) == (100, 66)
    assert (found["power_w"], found["sm_clock_mhz"]) == (691.06, 1455)
    assert gpu("serving")["utilization_percent"] == 0


def test_it_is_no_spark() -> None:
    assert spark.spark_verdict(gpu("load"), None) == (
        False,
        ["the GPU is NVIDIA H200", "/etc/dgx-release does not name a DGX Spark"],
    )


def test_clocks_of_another_chip_are_not_judged() -> None:
    """It ran at its power limit, and was taken for a Spark with a faulty power supply."""
    verdict = spark.throttle_verdict(gpu("load"))
    assert verdict == {"throttled": None, "reason": "cannot be judged: the clocks of NVIDIA H200 are not known"}
    assert "SW Power Cap                                   : Active" in (H200 / "nvidia-smi-q-load.txt").read_text()


def test_exporter_and_fields_agree() -> None:
    page = (H200 / "exporter-load.prom").read_text()
    for line in (
        'dgxspark_gpu_info{driver="580.159.04",loaded="580.159.04",name="NVIDIA H200"} 1',
        "dgxspark_gpu_utilization_ratio 1.0",
        "dgxspark_gpu_sm_clock_hertz 1455000000",
    ):
        assert line in page.splitlines()


def test_health_of_a_real_server() -> None:
    found = json.loads((H200 / "vllm_health.json").read_text())
    assert (found["verdict"], found["phase"], found["cause"]) == ("ready", "ready", None)
    assert (found["kv_cache_tokens"], found["weights_gib"]) == (840_688, 8.8)
    assert found["completion"]["tokens"] == 1


def test_a_deployed_service_on_a_real_driver() -> None:
    """Read on the simulated host that had the GPU by CDI, with 32 requests or more in progress."""
    found = json.loads((H200 / "spark_info-serving.json").read_text())
    assert found["toolkit"]["cdi_devices"] == ["nvidia.com/gpu=0", "nvidia.com/gpu=all"]
    assert (found["gpu"]["utilization_percent"], found["throttle"]["throttled"]) == (100, None)
    assert round(found["memory"]["total_bytes"] / 2**30, 2) == 139.8
    (service,) = found["services"]
    assert (service["service"], service["release"]) == ("vllm", "b90237719151")
    page = (H200 / "exporter-serving.prom").read_text().splitlines()
    assert "dgxspark_gpu_power_watts 313.36" in page
    assert 'dgxspark_vllm_unit_active{service="vllm"} 1' in page
    assert 'dgxspark_vllm_canary{service="vllm",verdict="answers"} 1' in page
