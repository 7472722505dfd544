# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that take turns: who they are, whose turn it is, what they count, and what is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.turn import group_of, on_turn, states, turn
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.budget import Unread, budget
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.share import LEAST, REST
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.swap import others, problem

from support.services import CATALOG, GIB, service, spark, values


def one(name: str, group: str = "big", **more: t.Any) -> TypedValues:
    return values(vllm_service_name=name, vllm_swap_group=group, **{"vllm_model": "qwen3-32b-fp8", **more})


CHAT, CODER = one("vllm"), one("vllm-coder")
EMBED = one("vllm-embed", "", vllm_model="qwen3-8b-fp8", vllm_gpu_memory_utilization=0.1)


def share(own: float) -> dict[str, t.Any]:
    return {"vllm_gpu_memory_utilization": own}


def test_the_others_of_a_group() -> None:
    unread = Unread("vllm-x", "why", one("vllm-x", vllm_home="/srv/x"))
    found = others("vllm-coder", "spark01", [CHAT, EMBED, CODER, unread, Unread("vllm-y", "why", None)])
    assert [(each.host, each.unit, each.home, each.is_earlier) for each in found] == [
        ("spark01-vllm", "vllm.service", "/opt/vllm", True),
        ("spark01-vllm-x", "vllm-x.service", "/srv/x", False),
    ]
    assert others("vllm-embed", "spark01", [CHAT, EMBED, CODER]) == ()
    assert others("vllm", "spark01", []) == ()


def test_each_of_a_group_gets_what_those_outside_of_it_leave() -> None:
    chat, embed, coder = budget([CHAT, EMBED, CODER], CATALOG, spark()).parts
    assert (chat.why, coder.why) == (REST, REST)
    assert chat.share == coder.share == pytest.approx(0.91 - 0.1)
    assert coder.text.endswith("what the others leave, by turns in big)")
    together = budget([CHAT, EMBED, CODER], CATALOG, spark())
    for each in (CHAT, CODER):
        assert resolve(each, CATALOG, spark(), budget=together).utilization == chat.share


def test_a_group_counts_as_the_largest_of_it() -> None:
    large, small = one("vllm-large", **share(0.6)), one("vllm-small", **share(0.2))
    chat, *_others = budget([one("vllm", ""), large, small], CATALOG, spark()).parts
    assert chat.share == pytest.approx(0.91 - 0.6)
    assert budget([one("vllm", "", **share(0.3)), large, small], CATALOG, spark()).problem == ""
    assert budget([one("vllm", "", **share(0.4)), large, small], CATALOG, spark()).problem.startswith(
        "vllm_gpu_memory_utilization: vllm 0.40, vllm-large 0.60 are 1.00 together, and this host can give 0.91"
    )


def test_two_groups_run_at_the_same_time() -> None:
    groups = [one("vllm", "a", **share(0.5)), one("vllm-b", "a", **share(0.4)), one("vllm-c", "b", **share(0.45))]
    assert "vllm 0.50, vllm-c 0.45 are 0.95 together" in budget(groups, CATALOG, spark()).problem


def test_a_group_that_is_not_the_first_ones_needs_what_its_models_need() -> None:
    small = {"vllm_model": "qwen3-8b-fp8"}
    first, *turns = budget([one("vllm", ""), one("vllm-b", **small), one("vllm-c", **small)], CATALOG, spark()).parts
    assert [part.why for part in turns] == [LEAST, LEAST]
    assert first.share == pytest.approx(0.91 - turns[0].share)


def test_what_the_other_one_holds_comes_free() -> None:
    host = spark(8 * GIB, services=[service("vllm", 100 * GIB)])
    together = budget([CHAT, CODER], CATALOG, host)
    swapped = others("vllm-coder", "spark01", [CHAT, CODER])
    assert not resolve(CODER, CATALOG, host, budget=together, swap_others=swapped).memory_is_taken
    assert resolve(CODER, CATALOG, host, budget=together).memory_is_taken
    ended = spark(8 * GIB, services=[service("vllm", 100 * GIB, running=False)])  # what it had is not there to come
    assert resolve(CODER, CATALOG, ended, budget=together, swap_others=swapped).memory_is_taken


@pytest.mark.parametrize(
    ("serves_together", "services", "line"),
    [
        (False, [CHAT, CODER], ""),
        (False, [CHAT, Unread("vllm-y", "why", None)], ""),  # which says itself what is wrong
        (False, [CHAT, EMBED], "vllm_swap_group: big has spark01-vllm alone, and a group takes turns on one host"),
        (False, [CHAT, one("vllm-b", "bog")], "vllm_swap_group: big has spark01-vllm alone"),
        (False, [], "vllm_swap_group: big of spark01-vllm is not in a list of services; list those"),
        (True, [CHAT, CODER], "vllm_swap_group: big of spark01-vllm is not allowed with vllm_nodes"),
    ],
)
def test_groups_that_cannot_be(serves_together: bool, services: list[TypedValues | Unread], line: str) -> None:
    found = problem("spark01-vllm", "big", serves_together, services)
    assert found.startswith(line) and bool(found) is bool(line)


A, B = "vllm.service", "vllm-b.service"


def shown(**units: str) -> str:
    """a="active enabled"."""
    said = {A if name == "a" else B: text.split() for name, text in units.items()}
    blocks = [f"Id={name}\nActiveState={active}\n" for name, (active, _file) in said.items()]
    return "\n".join([*blocks, *(f"{name} {file} enabled" for name, (_active, file) in said.items())])


@pytest.mark.parametrize(
    ("said", "unit"),
    [
        (shown(a="active enabled", b="inactive disabled"), A),
        (shown(a="inactive enabled", b="activating disabled"), B),  # started by hand
        (shown(a="failed enabled", b="inactive disabled"), A),  # it comes back with the host
        (shown(a="inactive disabled", b="failed enabled"), B),
        (shown(a="inactive disabled", b="inactive disabled"), ""),
        (shown(a="inactive enabled", b="inactive enabled"), A),  # its own
        (shown(b="active enabled", a="active enabled"), A),
        ("Id=vllm.service\nActiveState=inactive\n", ""),  # there is no such unit
        ("", ""),
    ],
)
def test_whose_turn_it_is(said: str, unit: str) -> None:
    assert on_turn(A, states(said)) == unit


def test_what_it_follows_from() -> None:
    assert turn(A, states(shown(b="active enabled", a="active disabled"))) == (A, [A, B], [B])


def test_a_group_by_what_systemd_lists() -> None:
    assert group_of("shutdown.target vllm-b.service nginx.service vllm-c.service") == [B, "vllm-c.service"]
    assert group_of("") == []
