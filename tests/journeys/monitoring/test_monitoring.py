# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring on a host that serves: installation, queries, five faults, removal. In this order."""

from __future__ import annotations

import contextlib
import json
import re

import yaml

from support.paths import ROOT
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CONTAINER, Spark
from support.waiting import wait_until

from .conftest import (
    ENGINE,
    GRAFANA,
    HELD,
    HOOK_PORT,
    INTERVAL,
    KEY,
    Prometheus,
    ask,
    growing_queue,
    held_memory,
    wait_for_alert,
    webhook,
)

PLAYBOOK = "playbooks/monitoring.yml"
RULES = "/etc/prometheus/dgxspark/rules.yml"
HOOK_SECRET = "hook-4f1d9c"
# Of these series a simulated Spark has none, so queries of them alone are empty: no sensors, no log of the kernel in a
# container, no file of memory pressure in some kernels, no speculative decoding in what is served, no services in turn.
ABSENT = (
    "dgxspark_vllm_waiting",
    *("node_thermal_zone_temp", "host:thermal_zone_celsius:max", "dgxspark_nv_err_no_memory_total"),
    *("node_pressure_memory_stalled_seconds_total", "host:memory_stalled:ratio1m"),
    *("vllm:spec_decode_num_accepted_tokens_total", "service:draft_tokens_accepted:ratio15m"),
)


def monitor(ansible_playbook: AnsiblePlaybook, spark: Spark, *arguments: str, **variables: object) -> Run:
    return ansible_playbook(
        PLAYBOOK,
        spark.limit,
        *arguments,
        vllm_api_key=KEY,
        monitoring_interval=INTERVAL,
        monitoring_webhook=f"http://127.0.0.1:{HOOK_PORT}/{HOOK_SECRET}",
        **variables,
    )


def test_it_is_set_up_beside_a_server_that_runs(serving: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    before = serving.root("systemctl show --property=InvocationID --value vllm")
    listing = "ls -d /usr/bin/prometheus /etc/dgxspark-exporter 2>/dev/null || true"
    there = serving.root(listing)
    check = monitor(ansible_playbook, serving, "--check", "--diff")
    assert check.code == 0, check.output
    assert serving.root(listing) == there
    first = monitor(ansible_playbook, serving, "--diff")
    assert first.code == 0, first.output
    assert KEY not in check.output + first.output
    assert HOOK_SECRET not in check.output + first.output
    second = monitor(ansible_playbook, serving)
    assert second.code == 0, second.output
    assert second.count(serving.name, "changed") == 0, second.output
    assert serving.root("systemctl show --property=InvocationID --value vllm") == before


def test_it_listens_on_loopback_and_the_key_is_for_prometheus_alone(serving: Spark) -> None:
    listeners = serving.root(
        "ss --listening --tcp --numeric --no-header '( sport = 9090 or sport = 9093 or sport = 9100 )'"
    )
    addresses = re.findall(r"(\S+):(9\d00|909\d)\s", listeners)
    assert sorted(addresses) == [("127.0.0.1", port) for port in ("9090", "9093", "9100")], listeners
    for name in (f"keys/{serving.name}", "alertmanager.yml"):
        assert serving.root(f"stat --format '%U %a' /etc/prometheus/dgxspark/{name}") == "prometheus 600"
    assert serving.root("dpkg --verify prometheus prometheus-node-exporter | grep /etc/ || true") == ""
    assert serving.root("systemctl show --property=User --value dgxspark-exporter.service") == "prometheus"


def test_grafana_gets_a_data_source_and_both_dashboards(serving: Spark) -> None:
    assert serving.root("systemctl is-active grafana-server").strip() == "active"  # restarted to read them
    source, provider = (
        yaml.safe_load(serving.root(f"cat {GRAFANA}/provisioning/{kind}/dgxspark.yml"))[key][0]
        for kind, key in (("datasources", "datasources"), ("dashboards", "providers"))
    )
    assert (source["uid"], source["url"]) == ("dgxspark", "http://127.0.0.1:9090")
    assert serving.root(f"ls {provider['options']['path']}").split() == ["fleet.json", "host.json"]


def expressions(spark: Spark) -> dict[str, str]:
    """Of all rules as they are on the host, without their limits, and of all panels."""
    found = {}
    for group in yaml.safe_load(spark.root(f"cat {RULES}"))["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                found[rule["record"]] = rule["expr"]
            else:
                # a limit that is not exceeded leaves nothing: the series that it is for
                for name in re.findall(r"\b(?:service|host|dgxspark|node|vllm)[:_][\w:]+|\bup\b", rule["expr"]):
                    found[f"{rule['alert']} {name}"] = name
    for path in (ROOT / "roles" / "monitoring" / "files" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets") or []:
                found[f"{path.name} {panel['title']}"] = target["expr"].replace("$host", spark.name)
    return found


def test_every_expression_has_data(serving: Spark, prometheus: Prometheus) -> None:
    ask(serving, 12)
    wanted = expressions(serving)

    def empty() -> list[str]:
        answers = zip(wanted.items(), prometheus(*wanted.values()), strict=True)
        return [
            f"{where}: {expression}"
            for (where, expression), answer in answers
            # nothing is down, and no alert fires
            if not answer and not any(name in expression for name in (*ABSENT, "ALERTS", "== 0"))
        ]

    def asked_again() -> bool:
        ask(serving, 4)
        return empty() == []

    with contextlib.suppress(AssertionError):  # the next one says what has none
        wait_until(asked_again, "every expression has data", timeout=120)
    assert empty() == []
    assert [name for name, state in prometheus.alerts().items() if state == "firing"] == []
    (info,) = prometheus("dgxspark_vllm_info")
    assert [entry["metric"]["host"] for entry in info] == [serving.name]
    (up,) = prometheus("up")
    assert {entry["metric"]["job"]: entry["value"][1] for entry in up} == {"vllm": "1", "node": "1"}


def test_a_frozen_engine_fires_at_the_second_evaluation_and_resolves(serving: Spark, prometheus: Prometheus) -> None:
    serving.root(f"{ENGINE} | xargs kill -STOP")
    try:
        wait_for_alert(prometheus, "VllmNoToken", "firing")
        assert prometheus.evaluations_until("VllmNoToken") <= 1
        (up,) = prometheus('up{job="vllm"}')
        assert up[0]["value"][1] == "1"  # /metrics is fine meanwhile
    finally:
        serving.root(f"{ENGINE} | xargs kill -CONT")
    wait_for_alert(prometheus, "VllmNoToken", None)


def test_a_full_queue_fires_at_the_second_evaluation_and_resolves(serving: Spark, prometheus: Prometheus) -> None:
    # a quarter of an hour in seconds; the rule is the same
    shorter = "/alert: VllmQueueGrowing/,/remedy:/ {s/\\[10m\\]/[20s]/g; s/for: 5m/for: 5s/}"
    serving.root(f"sed --in-place=.long '{shorter}' {RULES}; systemctl reload prometheus")
    try:
        with growing_queue(serving):
            wait_for_alert(prometheus, "VllmQueueGrowing", "firing")
            assert prometheus.evaluations_until("VllmQueueGrowing") <= 1
        wait_for_alert(prometheus, "VllmQueueGrowing", None)
    finally:
        serving.root(f"mv {RULES}.long {RULES}; systemctl reload prometheus")


def test_memory_that_is_held_fires_at_the_second_evaluation_and_resolves(
    serving: Spark, prometheus: Prometheus
) -> None:
    """The limit is moved to what is available: nothing here may fill the machine."""
    available = int(prometheus("node_memory_MemAvailable_bytes")[0][0]["value"][1])
    limit = f"/alert: MemoryLow/,/remedy:/ {{s/< 6 . 1024^3/< {available - HELD // 2}/; s/for: 2m/for: 5s/}}"
    serving.root(f"sed --in-place=.long '{limit}' {RULES}; systemctl reload prometheus")
    try:
        with held_memory(serving):
            wait_for_alert(prometheus, "MemoryLow", "firing")
            assert prometheus.evaluations_until("MemoryLow") <= 1
        wait_for_alert(prometheus, "MemoryLow", None)
    finally:
        serving.root(f"mv {RULES}.long {RULES}; systemctl reload prometheus")


def test_a_stopped_server_fires_at_the_second_evaluation_and_resolves(serving: Spark, prometheus: Prometheus) -> None:
    serving.root("systemctl stop vllm")
    try:
        with webhook(serving) as received:
            wait_for_alert(prometheus, "VllmDown", "firing")
            assert prometheus.evaluations_until("VllmDown") <= 1
            wait_until(lambda: '"alertname":"VllmDown"' in received(), "the webhook is called", timeout=60)
    finally:
        serving.root("systemctl start --no-block vllm")
    wait_for_alert(prometheus, "VllmDown", None)


def test_a_server_that_is_killed_twice_fires_at_once_and_resolves(serving: Spark, prometheus: Prometheus) -> None:
    serving.root("systemctl reset-failed vllm")  # the starts of the tests before do not count
    shorter = "/alert: VllmRestarts/,/remedy:/ s/30m/2m/"  # it resolves when both starts are older
    serving.root(f"sed --in-place=.long '{shorter}' {RULES}; systemctl reload prometheus")

    def starts() -> int:
        (found,) = prometheus("changes(dgxspark_vllm_start_time_seconds[2m])")
        return int(found[0]["value"][1]) if found else 0

    try:
        wait_until(lambda: starts() == 0, "the start of the test before is older", timeout=180)
        for number in (1, 2):
            wait_until(lambda: serving.root(f"docker ps --quiet --filter name={CONTAINER}"), "it runs", timeout=120)
            serving.root(f"docker kill {CONTAINER}")
            wait_until(lambda number=number: starts() == number, f"start {number} is seen", timeout=60)
        wait_for_alert(prometheus, "VllmRestarts", "firing")
        wait_until(lambda: prometheus.alerts().get("VllmRestarts") is None, "it is resolved", timeout=240)
    finally:
        serving.root(f"mv {RULES}.long {RULES}; systemctl reload prometheus")


def test_a_removal_leaves_the_packages_and_nothing_else(serving: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    removed = monitor(ansible_playbook, serving, monitoring_state="absent")
    assert removed.code == 0, removed.output
    left = serving.root(
        "ls -d /etc/systemd/system/*dgxspark-exporter* /etc/systemd/system/prometheus*.d /etc/prometheus/dgxspark"
        " /etc/grafana/provisioning/*/dgxspark.yml /var/lib/dgxspark-dashboards /etc/dgxspark-exporter"
        " /var/lib/dgxspark-exporter /usr/local/lib/dgxspark/dgxspark-exporter 2>/dev/null"
        " || true"
    )
    assert left == ""
    assert serving.root("ss --listening --tcp --no-header '( sport = 9090 or sport = 9093 or sport = 9100 )'") == ""
    again = monitor(ansible_playbook, serving, monitoring_state="absent")
    assert again.count(serving.name, "changed") == 0, again.output


def test_a_prometheus_of_somebody_else_is_left_alone(serving: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    serving.root("cp /etc/prometheus/prometheus.yml /root/; echo '# mine' >>/etc/prometheus/prometheus.yml")
    try:
        refused = monitor(ansible_playbook, serving)
        assert refused.code != 0
        assert "/etc/prometheus/prometheus.yml differs from the package. Nothing" in refused.words
        assert refused.count(serving.name, "changed") == 0, refused.output
    finally:
        serving.root("mv /root/prometheus.yml /etc/prometheus/prometheus.yml")
