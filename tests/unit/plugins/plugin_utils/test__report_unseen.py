# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host could not be judged: what is to be done about a refused login is not what helps a host that is down."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet, fleet_table, preflight, unseen

SSH = "Failed to connect to the host via ssh: "
CHANGED = f"{SSH}@@@@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@@@@ Host key verification failed."
LOGINS = [
    (f"{SSH}nvidia@192.0.2.7: Permission denied (publickey,password).", "login_refused"),
    ("Invalid/incorrect password: Permission denied, please try again.", "login_refused"),
    (f"{SSH}Received disconnect from 192.0.2.7 port 22:2: Too many authentication failures", "login_refused"),
    (f"{CHANGED} nvidia@192.0.2.7: Permission denied (publickey).", "host_key_refused"),
    (f"{SSH}No ED25519 host key is known for spark01. Host key verification failed.", "host_key_refused"),
    (f"{SSH}ssh: Could not resolve hostname spark9: Name or service not known", "name_not_resolved"),
    (f"{SSH}ssh: connect to host 192.0.2.7 port 22: No route to host", "unreachable"),
    ("Connection reset by peer", "unreachable"),
    ("cannot read /opt/x: Permission denied", "unreachable"),
]
SUDO = [
    "Task failed: Incorrect sudo password",
    "Missing sudo password",
    "Task failed: Premature end of stream waiting for become success. >>> Standard Error sudo: a password is required",
]


@pytest.mark.parametrize(("message", "cause"), LOGINS)
def test_a_host_that_could_not_be_reached(message: str, cause: str) -> None:
    verdict, found = fleet.judged({"unreachable": True, "msg": message})
    assert found is not None
    assert (verdict, found["id"]) == ("unreachable", cause)
    assert ("switched on" in found["remedy"]) == (cause == "unreachable")


@pytest.mark.parametrize("message", SUDO)
def test_sudo_without_its_password(message: str) -> None:
    verdict, found = fleet.judged({"failed": True, "msg": message})
    assert found is not None
    assert (verdict, found["id"]) == ("unknown", "sudo_refused")
    assert "-K" in found["remedy"]


def test_a_host_that_hangs_is_not_asked_for_its_password_alone() -> None:
    message = "spark01 cannot be reached: Timeout (12s) waiting for privilege escalation prompt:. Nothing was changed"
    verdict, found = fleet.judged({"failed": True, "msg": message})
    assert found is not None
    assert (verdict, found["id"]) == ("unknown", "sudo_silent")
    assert "switched off and on; if it wants a password, run with -K" in unseen.with_remedy(message)


@pytest.mark.parametrize("message", ["vllm_port: 0 is not allowed", "scp: /x: Permission denied (publickey)."])
def test_any_other_failure_of_a_check(message: str) -> None:
    assert unseen.why_failed(message).id == "check_failed"
    assert unseen.with_remedy(message) == message


def test_the_table_of_the_fleet_tells_the_remedy() -> None:
    report = fleet.build(["spark01"], {"spark01": {"unreachable": True, "msg": LOGINS[0][0]}}, {}, {}, 0.0)
    text = fleet_table.render(report)
    assert "spark01 | unreachable: the host answers, and refuses the login" in text
    assert "ssh-copy-id" in text


def test_the_checks_before_a_deployment_tell_it_too() -> None:
    checks = [{"check": "SSH, sudo", "result": "failed", "text": LOGINS[0][0]}]
    (row,) = preflight.build({"spark01": checks}, 0.0)["checks"]
    assert "Permission denied (publickey,password). Remedy: set ansible_user to" in row["text"]


def test_the_message_of_a_deployment() -> None:
    message = f"spark01 cannot be reached: {LOGINS[5][0]}. Nothing that runs was changed"
    assert unseen.with_remedy(message).startswith(f"{message}. Remedy: correct ansible_host")
    assert "ssh-copy-id" in unseen.with_remedy(LOGINS[1][0], unreachable=True)
