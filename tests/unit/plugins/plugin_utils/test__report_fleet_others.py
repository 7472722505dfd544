# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report on a fleet says of servers of others, and of who holds the port of a service."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import condition
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet as report_fleet
from fleet_results import LISTENER, NOW, build, found, health, spark

Facts = dict[str, t.Any]


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
