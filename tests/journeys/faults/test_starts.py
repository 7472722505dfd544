# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts that fail for a real reason: one line says verdict, cause and remedy, and nothing is left that restarts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import Sandbox, Spark

from .messages import moments, told
from .second_service import DROP_IN, ITS_OWN, SERVICE, amend_unit, processes, restore_unit
from .start_faults import FAULTS, Fault

MESSAGE = re.compile(
    r"The service was stopped, so that it does not restart in a loop; there is no earlier good release to restore\."
    rf" The new release failed: (?P<container>{SERVICE}-\S+) on spark\d+"
    r" (?:is )?(?P<verdict>\w+)(?: in phase (?P<phase>\w+))?:"
    r" (?P<meaning>.+?)\. Remedy: (?P<remedy>.+?)\.(?: Seen: (?P<evidence>.+?)\.)?"
    r" More: docs/troubleshooting\.md#(?P<cause>\w+)\..*"
)


@pytest.fixture
def fault(spark: Spark, sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Fault]:
    """A fault, made on the host, and undone whatever happens."""
    fault: Fault = request.param
    # a start that should have failed and did not may not become what the next one goes back to
    spark.root(f"rm -f /opt/{SERVICE}/good")
    with ExitStack() as undo:
        if fault.meanwhile:
            undo.callback(restore_unit, spark)
            spark.write(f"{DROP_IN}/meanwhile.sh", fault.meanwhile)
            amend_unit(spark, f"ExecStartPre=/bin/sh -eu {DROP_IN}/meanwhile.sh")
        if fault.undo:
            undo.callback(spark.root, fault.undo)
        if fault.make:
            spark.root(fault.make)
        if fault.hub:
            undo.callback(sandbox.hub.set_faults, [])
            # of this host only: the journey on the other one uses the same hub
            sandbox.hub.set_faults([{**rule, "client": spark.ssh.address} for rule in fault.hub])
        yield fault


@pytest.fixture
def deploy(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Callable[[Fault], Any]:
    """deploy.yml as an operator runs it."""

    def while_it_loads(command: str) -> None:
        # one command that waits on the host: a connection for each look takes longer than the load, on a busy machine
        waits = f"until {processes('Worker')} | grep -q .; do sleep 0.3; done"
        spark.root(f"timeout 300 sh -c {shlex.quote(waits)} && {command}")

    def deploy(fault: Fault) -> Any:
        with ThreadPoolExecutor() as pool:
            # from the beginning: nothing serves yet, and a load may take less time than a connection
            done = pool.submit(while_it_loads, fault.loading) if fault.loading else None
            run = ansible_playbook("playbooks/deploy.yml", spark.limit, **{**ITS_OWN, **fault.variables})
            if done:
                done.result()
        return run

    return deploy


def these(faults: Iterable[Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", list(faults), ids=lambda fault: fault.name, indirect=True)


@these(fault for fault in FAULTS if not fault.cause)
def test_refused_before_anything_is_started(
    spark: Spark, record: Callable[..., None], deploy: Callable[[Fault], Any], fault: Fault
) -> None:
    with spark.sudo():
        before = spark.run("systemctl show --property=ActiveState,InvocationID %s", SERVICE).stdout
    run = deploy(fault)
    assert run.code != 0, run.output
    lines = told(run)
    assert len(lines) == 1, run.output
    message = lines[0][1]
    assert fault.remedy in message
    with spark.sudo():
        assert spark.run("systemctl show --property=ActiveState,InvocationID %s", SERVICE).stdout == before
    record(kind="start", fault=fault.name, verdict="refused", cause="", remedy=message, seconds=None)


@pytest.mark.in_turn(4)
@these(fault for fault in FAULTS if fault.cause)
def test_a_start_that_fails_says_why_and_what_to_do(
    spark: Spark, record: Callable[..., None], deploy: Callable[[Fault], Any], fault: Fault
) -> None:
    run = deploy(fault)
    assert run.code != 0, run.output
    assert "Traceback" not in run.output

    lines = told(run)
    messages = [found for _when, line in lines if (found := MESSAGE.fullmatch(line))]
    assert len(messages) == 1, run.output
    message = messages[0]
    assert (message["verdict"], message["cause"]) == (fault.verdict, fault.cause), message[0]
    assert fault.remedy in message["remedy"]

    with spark.sudo():
        unit = spark.check_output("systemctl show --property=ActiveState,UnitFileState --value %s", SERVICE).split()
        running = spark.check_output("docker ps --quiet --filter label=dgxspark.vllm.service=%s", SERVICE)
    # not "activating", which is what it would be while it waits for another try
    assert unit in (["inactive", "disabled"], ["failed", "disabled"])
    assert running == ""

    shown = moments(spark, message["container"], message["evidence"], since=run.lines[0][0])
    assert shown, message["evidence"]
    record(
        kind="start",
        fault=fault.name,
        verdict=message["verdict"],
        cause=message["cause"],
        remedy=message["remedy"],
        seconds=lines[0][0] - (shown[-1] if fault.retried else shown[0]),
    )
