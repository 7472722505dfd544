# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One memory budget for the services of a host, whatever of them runs already."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.budget import Unread, budget
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.share import LEAST, REST, Budget

from support.paths import ROOT
from support.services import CATALOG, GIB, service, spark, values

CHAT: dict[str, t.Any] = {"vllm_model": "qwen3-32b-fp8"}
EMBED: dict[str, t.Any] = {"vllm_service_name": "vllm-embed", "vllm_model": "qwen3-8b-fp8"}
UNKNOWN: dict[str, t.Any] = {"vllm_service_name": "vllm-rerank", "vllm_model": "who/knows"}


def share(own: float) -> dict[str, t.Any]:
    return {"vllm_gpu_memory_utilization": own}


def found(*services: dict[str, t.Any] | Unread, host: dict[str, t.Any] | None = None) -> Budget:
    return budget(
        [each if isinstance(each, Unread) else values(**each) for each in services],
        CATALOG,
        spark() if host is None else host,
    )


def test_the_first_one_gets_what_the_others_leave() -> None:
    chat, embed, rerank = found(CHAT, EMBED, {**UNKNOWN, **share(0.1)}).parts
    assert (chat.service, chat.why) == ("vllm", REST)
    assert (embed.service, embed.why) == ("vllm-embed", LEAST)
    assert (rerank.share, rerank.why) == (0.1, "")
    assert chat.share == pytest.approx(0.91 - embed.share - 0.1)


def test_the_guide_shows_the_shares_of_its_list() -> None:
    guide = (ROOT / "docs/guides/several-services.md").read_text()
    listed = yaml.safe_load(guide.partition("host_vars/spark01.yml\n")[2].partition("```")[0])["vllm_services"]
    parts = found(*({"vllm_service_name": each.pop("name"), **each} for each in listed)).parts
    assert f"`{'; '.join(part.text for part in parts)}` of 121.7 GiB" in guide


def test_what_its_model_needs_holds_one_request() -> None:
    together = found(CHAT, EMBED)
    alone = resolve(values(**EMBED), CATALOG, spark(), budget=together)
    assert alone.plan["fits"]
    assert alone.plan["kv_bytes_least"] >= alone.plan["context"] * alone.plan["kv_bytes_per_token"]
    assert alone.capped_by == "121.7 GiB for all of vllm_services, and that is what this one's model needs"


def test_it_gets_no_more_than_its_profile_names() -> None:
    mine = {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {"gpu_memory_utilization": 0.6}}}}
    assert found({**CHAT, **mine}, {**EMBED, **share(0.1)}).parts[0].share == 0.6


@pytest.mark.parametrize("running", [[], [service("vllm", 100 * GIB)], [service("vllm-embed", 30 * GIB)]])
def test_the_shares_do_not_depend_on_what_runs(running: list[dict[str, t.Any]]) -> None:
    host = spark(services=running)
    together = found(CHAT, EMBED, host=host)
    assert together == found(CHAT, EMBED)
    for each, part in zip((CHAT, EMBED), together.parts, strict=True):
        assert resolve(values(**each), CATALOG, host, budget=together).utilization == part.share


@pytest.mark.parametrize(("holds_gib", "named"), [(60, ["vllm-embed"]), (37, []), (20, [])])
def test_a_service_that_has_to_shrink_first_is_named(holds_gib: int, named: list[str]) -> None:
    """It got 36.5 GiB in the list, and holds what an earlier list gave it until it is deployed again."""
    services = [CHAT, {**EMBED, **share(0.3)}]
    host = spark(services=[service("vllm-embed", holds_gib * GIB), service("vllm", 90 * GIB)])
    first = resolve(values(**services[0]), CATALOG, host, budget=found(*services, host=host))
    assert [other["service"] for other in first.oversized] == named


def test_a_service_that_no_list_names_counts_too() -> None:
    together = found(CHAT, EMBED)
    alone = resolve(values(**CHAT), CATALOG, spark(services=[service("vllm-old", 20 * GIB)]), budget=together)
    assert alone.utilization < together.parts[0].share


@pytest.mark.parametrize(
    ("services", "problem"),
    [
        (
            [{**CHAT, **share(0.6)}, {**EMBED, **share(0.5)}],
            "vllm_gpu_memory_utilization: vllm 0.60, vllm-embed 0.50 are 1.10 together, and this host can give 0.91 of"
            " 121.7 GiB; give them less",
        ),
        (
            [CHAT, {**EMBED, **share(0.95)}],
            "vllm_gpu_memory_utilization: vllm-embed 0.95 leave nothing for vllm, and this host can give 0.91 of"
            " 121.7 GiB; give them less",
        ),
        ([{**CHAT, **share(0.6)}, {**EMBED, **share(0.31)}], ""),
        ([UNKNOWN, EMBED], ""),  # the first one needs no figures
    ],
)
def test_what_does_not_fit(services: list[dict[str, t.Any]], problem: str) -> None:
    assert found(*services).problem == problem


@pytest.mark.parametrize("host", [{}, spark()])
def test_there_is_none_for_one_service_or_without_a_host(host: dict[str, t.Any]) -> None:
    assert found(CHAT, host=host) == Budget()
    assert found(CHAT, EMBED, host={}) == Budget()


def test_a_kv_cache_of_a_given_size_counts() -> None:
    given = {"vllm_extra_args": {"kv_cache_memory_bytes": 30 * GIB}}
    assert found(CHAT, {**EMBED, **given}).parts[1].planned_bytes > 30 * GIB


def unread(**shares: t.Any) -> Unread:
    return Unread("vllm-bad", "h-vllm-bad: vllm_port: no", values(**shares))


def test_only_who_needs_the_part_of_another_one_is_refused() -> None:
    together = found(CHAT, UNKNOWN, EMBED)
    assert [part.service for part in together.parts] == ["vllm-embed"]
    assert together.problem_of("vllm-embed") == ""
    assert together.problem_of("vllm-rerank") == (
        "vllm_gpu_memory_utilization: vllm-rerank needs one, because nobody has said how large who/knows is; give"
        " it a share such as 0.15, or describe the model in vllm_models"
    )
    assert together.problem_of("vllm") == (
        "vllm_gpu_memory_utilization: vllm gets what the others leave, and what vllm-rerank takes is not known (nobody"
        " has said how large who/knows is); correct vllm-rerank, or give vllm a share of its own"
    )


def test_a_bad_service_has_its_share_if_that_can_be_read() -> None:
    read = found(CHAT, {**EMBED, "vllm_service_name": "vllm-bad", **share(0.2)}, EMBED)
    assert found(CHAT, unread(**share(0.2)), EMBED) == read._replace(copies=())


@pytest.mark.parametrize(
    ("services", "refused"),
    [
        ([CHAT, unread(), EMBED], ["vllm"]),
        ([unread(), CHAT, EMBED], []),  # it would get what the others leave
        ([Unread("vllm-bad", "no", None), CHAT, EMBED], ["vllm"]),  # which of the two would, cannot be said
        ([{**CHAT, **share(0.5)}, unread()], []),
        ([CHAT, {**EMBED, "vllm_model": "qwen3-8b-pf8"}], ["vllm"]),
        ([{**CHAT, "vllm_model": "qwen3-8b-pf8"}, EMBED], []),
    ],
)
def test_who_is_refused(services: list[dict[str, t.Any] | Unread], refused: list[str]) -> None:
    together = found(*services)
    assert list(together.refused) == refused
    assert together.problem == ""
