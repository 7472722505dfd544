# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.clock import Clock
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import (
    Container,
    Unit,
    epoch,
    listening_address,
    log_since,
    parse_inspect,
    parse_unit,
    published_address,
)

NEVER = "0001-01-01T00:00:00Z"


def container(**values: t.Any) -> Container:
    defaults: dict[str, t.Any] = {
        "name": "vllm-x",
        "id": "0123456789ab",
        "status": "running",
        "exit_code": 0,
        "oom_killed": False,
        "error": "",
        "started_at": "2026-11-23T09:00:10.5Z",
        "finished_at": NEVER,
        "image": "vllm:1",
        "restarts": 0,
    }
    return Container(**{**defaults, **values})


def test_inspect() -> None:
    state = {
        "Status": "exited",
        "ExitCode": 137,
        "OOMKilled": True,
        "Error": "",
        "StartedAt": "2026-11-23T09:00:10.5Z",
        "FinishedAt": "2026-11-23T09:05:00Z",
    }
    entry = {
        "Id": "0123456789abcdef" * 4,
        "Name": "/vllm-x",
        "State": state,
        "RestartCount": 2,
        "Config": {"Image": "vllm:1", "Labels": {"dgxspark.vllm.release": "abc"}, "Env": ["HF_TOKEN=hf_secret"]},
    }
    assert parse_inspect(json.dumps([entry])) == container(
        status="exited",
        exit_code=137,
        oom_killed=True,
        finished_at="2026-11-23T09:05:00Z",
        restarts=2,
        labels={"dgxspark.vllm.release": "abc"},
    )


@pytest.mark.parametrize(
    ("command", "published", "listens"),
    [
        (["vllm", "serve", "m", "--host", "0.0.0.0", "--port", "8001"], "127.0.0.1:8001", "0.0.0.0:8001"),
        (["--host", "192.0.2.1", "--port", "8000", "--seed", "1"], "192.0.2.1:8000", "192.0.2.1:8000"),
        (["vllm", "serve", "m", "--headless"], None, None),
        (["--host", "192.0.2.1", "--port", "x"], None, None),
        (["--host"], None, None),
        (None, None, None),
        ({"--host": "--port"}, None, None),
    ],
)
def test_a_server_in_the_network_of_the_host(command: t.Any, published: str | None, listens: str | None) -> None:
    bindings = {"8000/tcp": [{"HostIp": "", "HostPort": "8000"}]}
    entry = {"Config": {"Cmd": command}, "HostConfig": {"NetworkMode": "host", "PortBindings": bindings}}
    assert (published_address(entry), listening_address(entry)) == (published, listens)
    entry["HostConfig"] = {"NetworkMode": "vllm_default", "PortBindings": bindings}
    assert (published_address(entry), listening_address(entry)) == ("127.0.0.1:8000", "0.0.0.0:8000")


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", "[1]"])
def test_no_container(text: str) -> None:
    assert parse_inspect(text) is None


def test_unit() -> None:
    text = (
        "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=3\n"
        "InvocationID=abc\nExecMainStartTimestampMonotonic=12500000\n"
    )
    assert parse_unit(text) == Unit("activating", "auto-restart", "exit-code", 3, "abc", 12.5)


@pytest.mark.parametrize("text", ["", "LoadState=not-found\nActiveState=inactive\n"])
def test_no_unit(text: str) -> None:
    assert parse_unit(text) is None


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.250000000Z", 1.25),
        ("1970-01-01T02:00:01+02:00", 1.0),
        ("1969-12-31T23:30:01-00:30", 1.0),
        (NEVER, None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_epoch(stamp: str, seconds: float | None) -> None:
    assert epoch(stamp) == seconds


@pytest.mark.parametrize(
    ("finished", "since"),
    [
        (NEVER, 8.5),  # a little before the start, because Docker notes it late
        ("1970-01-01T00:00:05Z", 8.5),
        ("1970-01-01T00:00:09.5Z", 9.501),  # but not into the attempt before
        ("1970-01-01T00:00:20Z", 8.5),  # the end of this very attempt
    ],
)
def test_log_of_the_current_attempt(finished: str, since: float) -> None:
    entry = container(started_at="1970-01-01T00:00:10.5Z", finished_at=finished)
    assert float(log_since(entry, Clock(100.0))) == since


def test_log_of_a_container_that_never_ran() -> None:
    assert log_since(container(started_at=NEVER), Clock(100.0)) == "0"


def test_a_clock_that_was_set_back_does_not_hide_the_log() -> None:
    """Docker compares the time of each line with --since."""
    year = 365 * 86400.0
    entry = container(started_at="1972-01-01T00:00:00Z", finished_at="1971-12-31T23:59:59.5Z")
    started = 2 * year
    for now, jump in ((started - year + 60, -year), (started + year + 60, year), (started + 60, 0.0)):
        first_line = min(started, started + jump)  # by the clock of that moment
        assert float(log_since(entry, Clock(now, jump))) <= first_line
    assert log_since(entry, Clock(started - year)) == "0"  # its process is not known
    ended = container(status="exited", started_at="1972-01-01T00:00:00Z", finished_at="1971-01-01T00:00:00Z")
    assert log_since(ended, Clock(started + year)) == "0"  # it ended before it began
