# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that serves with a key and is watched, and questions to its Prometheus."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import CONTAINER, MODEL, Spark
from support.waiting import wait_until

KEY = "6b1fd1d9c1d44a2c8f0e9f3f6d2b7a55"
HOME = "/opt/vllm"
ENGINE = f"docker top {CONTAINER} -eo pid,args | awk '/VLLM::EngineCore/ {{print $1}}'"
# Seconds between scrapes, evaluations and runs of the exporter: the least that the role allows.
INTERVAL = 5
# Compiling is not what is tested here; a small batch makes a queue of few requests.
ARGUMENTS = {"enforce_eager": True, "max_num_seqs": 4}
# Bytes: more than another journey takes meanwhile, twice.
HELD = 5 * 1024**3
# Grafana is in no repository of the distribution: its folder, and a stand-in that is restarted.
GRAFANA = "/etc/grafana"
GRAFANA_UNIT = "/etc/systemd/system/grafana-server.service"
# An empty OnActiveSec= forgets all times of the timer.
HURRY = "/etc/systemd/system/vllm-watchdog.timer.d"
IN_A_HURRY = r"[Timer]\nOnActiveSec=\nOnActiveSec=2\nOnUnitInactiveSec=2\n"


class Prometheus:
    """The HTTP API of Prometheus, which listens on loopback of the host."""

    def __init__(self, spark: Spark) -> None:
        self.spark = spark

    def __call__(self, *expressions: str) -> list[list[dict[str, Any]]]:
        """The result of each expression, over one connection."""
        words = " --next ".join(
            f"--silent --max-time 10 --data-urlencode query={shlex.quote(expression)} http://127.0.0.1:9090/api/v1/query"
            for expression in expressions
        )
        answers = self.spark.root(f"curl {words}").strip()
        found, decoder = [], json.JSONDecoder()
        while answers:
            answer, end = decoder.raw_decode(answers)
            assert answer["status"] == "success", answer
            found.append(answer["data"]["result"])
            answers = answers[end:].lstrip()
        assert len(found) == len(expressions)
        return found

    def alerts(self) -> dict[str, str]:
        """State by name; of one that fires on several series the worst."""
        found = sorted((entry["metric"]["alertname"], entry["metric"]["alertstate"]) for entry in self("ALERTS")[0])
        return dict(reversed(found))

    def evaluations_until(self, alert: str) -> int:
        """Evaluations in which it was pending before it fired, of the last ten minutes."""
        (pending,) = self(f'ALERTS{{alertname="{alert}",alertstate="pending"}}[10m]')
        return sum(len(entry["values"]) for entry in pending)


@pytest.fixture(scope="module")
def serving(prepared: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[Spark]:
    """It asks for the key."""
    run = ansible_playbook("playbooks/deploy.yml", prepared.limit, vllm_extra_args=ARGUMENTS, vllm_api_key=KEY)
    assert run.code == 0, run.output
    path = f"{HOME}/current/release.json"
    facts = json.loads(prepared.root(f"cat {path}"))
    # the watchdog looks often, and leaves a frozen engine to the test
    prepared.write(path, json.dumps({**facts, "canary_timeout": 4, "frozen_after": 1000}))
    prepared.root(f"mkdir -p {HURRY}; printf '{IN_A_HURRY}' > {HURRY}/hurry.conf")
    prepared.root(f"mkdir -p {GRAFANA}/provisioning/dashboards {GRAFANA}/provisioning/datasources")
    prepared.write(GRAFANA_UNIT, "[Service]\nExecStart=/bin/sleep infinity\n")
    prepared.root("systemctl daemon-reload; systemctl restart vllm-watchdog.timer")
    yield prepared
    prepared.root(f"{ENGINE} | xargs --no-run-if-empty kill -CONT; rm -rf {HURRY}")
    prepared.root(f"systemctl stop grafana-server; rm -rf {GRAFANA} {GRAFANA_UNIT}; systemctl daemon-reload")


@pytest.fixture(scope="module")
def prometheus(serving: Spark) -> Prometheus:
    return Prometheus(serving)


def request(tokens: int) -> str:
    """The command of one, with a long beginning that all have in common."""
    prompt = "The quick brown fox jumps over the lazy dog. " * 40
    data = json.dumps({"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True})
    return (
        f"curl --silent --fail --output /dev/null --header 'Authorization: Bearer {KEY}'"
        f" --header 'Content-Type: application/json' --data {shlex.quote(data)} http://127.0.0.1:8000/v1/completions"
    )


def ask(spark: Spark, count: int) -> None:
    """Requests, two at a time."""
    spark.root(f"seq {count} | xargs --max-procs 2 --replace sh -c {shlex.quote(request(16))}")


@contextlib.contextmanager
def growing_queue(spark: Spark) -> Iterator[None]:
    """More requests each second than end; they are given up in the end."""
    script = f"while sleep 1; do {request(20000)} & done"
    spark.root(f"systemd-run --quiet --collect --unit=queue sh -c {shlex.quote(script)}")
    try:
        yield
    finally:
        spark.root("systemctl stop queue")


@contextlib.contextmanager
def held_memory(spark: Spark) -> Iterator[None]:
    """A program that has HELD bytes."""
    hold = f"import time; held = b'x' * {HELD}; time.sleep(600)"
    spark.root(f"systemd-run --quiet --collect --unit=holder python3 -c {shlex.quote(hold)}")
    try:
        yield
    finally:
        spark.root("systemctl stop holder")


def wait_for_alert(prometheus: Prometheus, name: str, state: str | None) -> None:
    wait_until(lambda: prometheus.alerts().get(name) == state, f"{name} is {state or 'resolved'}", timeout=120)


HOOK_PORT = 9999
RECEIVER = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with open('/run/webhook', 'ab') as file:
            file.write(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(('127.0.0.1', {HOOK_PORT}), Handler).serve_forever()
"""


@contextlib.contextmanager
def webhook(spark: Spark) -> Iterator[Callable[[], str]]:
    """A receiver on the host, and what it has got."""
    spark.root(f"systemd-run --quiet --collect --unit=webhook python3 -c {shlex.quote(RECEIVER)}")
    try:
        yield lambda: spark.root("cat /run/webhook 2>/dev/null || true")
    finally:
        spark.root("systemctl stop webhook; rm -f /run/webhook")
