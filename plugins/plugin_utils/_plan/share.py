# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one statement of the memory cap: what share of a host's memory vLLM may take. Pure.

The wish of the profile (or of the user) is capped by what the host has besides the reserve and what other services of
the collection hold. Unified memory: the GPU's share is the host's. Without a look at the host nothing is capped.

Neighbors that vllm_services does not list cap a share only as far as needed: one that fits beside them is the same with
and without them. A neighbor gets at most what is left, so one that comes later changes no share that was there before.
"""

from __future__ import annotations

import math
import typing as t

from .._catalog.vllm_options import share_text
from .words import GIB, ROUNDING, gib

# The share is never below this where other services hold the memory: the memory plan says then what is wrong.
LOWEST = 0.01
# The largest that may be asked for: the operating system needs memory too.
LARGEST = 0.95
# What a service may use beside its plan: the processes of the host that serve it.
BESIDE_PLAN_BYTES = 4 * GIB
# A hundredth that a division of floats may miss, far less than a byte.
NOTHING = 1e-12
# What may be missing when it is counted, and is there at the start.
TOLERANCE_BYTES = GIB

# Why a service has its part of a budget.
REST, LEAST = "what the others leave", "what its model needs"

HostState = t.Mapping[str, t.Any]  # what the module spark_info returns in spark; empty if the host was not read


class Part(t.NamedTuple):
    """What one of several services of a host may take."""

    service: str
    share: float
    planned_bytes: int  # with what it offloads
    why: str = ""  # REST, LEAST, or empty for a share of its own
    offloaded_bytes: int = 0
    group: str = ""  # vllm_swap_group

    @property
    def text(self) -> str:
        """For people."""
        why = f", {self.why}" if self.why else ""
        why += f", by turns in {self.group}" if self.group else ""
        offloaded = f" with {gib(self.offloaded_bytes)} of offloading" if self.offloaded_bytes else ""
        return f"{self.service} {share_text(self.share)} ({gib(self.planned_bytes)}{offloaded}{why})"


class Budget(t.NamedTuple):
    parts: tuple[Part, ...] = ()  # none for a service alone on its host
    problem: str = ""  # of all of them together
    refused: t.Mapping[str, str] = {}  # services of which no part can be said, and why
    copies: tuple[str, ...] = ()  # what it costs that several of them serve one model

    def problem_of(self, service: str) -> str:
        return self.refused.get(service) or self.problem

    def of(self, service: str) -> Part | None:
        return next((part for part in self.parts if part.service == service), None)


NO_BUDGET = Budget()


def by_turns(parts: t.Iterable[Part]) -> list[Part]:
    """Those that can run at the same time: of each swap group the largest one."""
    largest: dict[tuple[str, str], Part] = {}
    for part in parts:
        key = (part.group, "" if part.group else part.service)
        largest[key] = max(largest.get(key, part), part, key=lambda each: each.planned_bytes)
    return list(largest.values())


class Share(t.NamedTuple):
    memory_bytes: int  # 0 if the host was not read
    reserve_gib: float
    other_services: list[dict[str, t.Any]]
    wish: float
    cap: float
    is_least: bool = False
    offloaded_bytes: int = 0  # of this service, beside its share
    ray_bytes: int = 0  # of Ray, which serves it
    is_out: bool = False  # other services leave less than LOWEST
    kept: Share | None = None  # that of this host without neighbors outside of vllm_services, if it fits beside them

    @property
    def memory_gib(self) -> float:
        return self.memory_bytes / GIB

    @property
    def other_services_gib(self) -> float:
        return sum(int(service["planned_bytes"]) for service in self.other_services) / GIB

    @property
    def utilization(self) -> float:
        return self.kept.utilization if self.kept else min(self.wish, self.cap)

    @property
    def highest(self) -> float:
        """The cap, and what is offloaded as far as the host can give it: both as a share of the memory."""
        if not self.offloaded_bytes or not self.memory_bytes:
            return self.cap
        left = 1 - (self.reserve_gib + self.other_services_gib + self.ray_bytes / GIB) / self.memory_gib
        return min(self.cap + self.offloaded_bytes / self.memory_bytes, max(left, self.cap))

    @property
    def is_capped(self) -> bool:
        return self.utilization < self.wish

    @property
    def capped_by(self) -> str:
        """What the cap is made of, for people."""
        if self.holds_least:
            return f"{self.memory_gib:.1f} GiB for all of vllm_services, and that is what this one's model needs"
        text = f"{self.memory_gib:.1f} GiB, less {self.reserve_gib:g} GiB of vllm_memory_reserve_gib"
        text += "".join(f", less {gib(each['planned_bytes'])} of {each['service']}" for each in self.holders)
        if self.offloaded_bytes:
            text += f", less {gib(self.offloaded_bytes)} of offloading"
        if self.ray_bytes:
            text += f", less {gib(self.ray_bytes)} of Ray"
        return text

    @property
    def holders(self) -> list[dict[str, t.Any]]:
        """The other services that the cap leaves room for."""
        return self.kept.other_services if self.kept else self.other_services

    @property
    def capped_for(self) -> list[str]:
        """Those because of whom the share is smaller than the wish."""
        return [each["service"] for each in self.holders] if self.is_capped and not self.holds_least else []

    def problem_of(self, service: str) -> str:
        """One line with who holds what, if that leaves nothing for SERVICE."""
        if not self.is_out or not self.other_services:
            return ""
        names = ", ".join(each["service"] for each in self.other_services)
        return f"nothing is left for {service}: this host has {self.capped_by}; give {names} less"

    @property
    def holds_least(self) -> bool:
        """Whether the share is what the model needs at least, of a vllm_services whose others take the rest."""
        return self.kept.is_least if self.kept else self.is_least

    def keeps(self, alone: Share, needed_bytes: int) -> Share:
        """With the share that it has where only vllm_services counts (ALONE), if that fits beside all others.

        NEEDED_BYTES is all that it takes with that share, Ray excepted; 0 if that is not known, and then that share of
        the memory counts.
        """
        taken = (self.reserve_gib + self.other_services_gib) * GIB + self.ray_bytes
        needed = needed_bytes or alone.utilization * self.memory_bytes + self.offloaded_bytes
        fits = taken + needed <= self.memory_bytes + ROUNDING
        return self._replace(kept=alone, is_out=False) if fits else self


def share(
    host: HostState,
    service: str,
    wish: float,
    reserve_gib: float,
    budget: Budget = NO_BUDGET,
    offloaded_bytes: int = 0,
    ray_bytes: int = 0,
) -> Share:
    """The share of SERVICE, which the host may serve already. Others of BUDGET count by their part of it.

    OFFLOADED_BYTES is what the service takes beside its share, RAY_BYTES what Ray takes to serve it.
    """
    memory_bytes = int((host.get("memory") or {}).get("total_bytes") or 0)
    own = budget.of(service)
    beside = [part for part in budget.parts if part != own and not (own and own.group and part.group == own.group)]
    parts = [{"service": part.service, "planned_bytes": part.planned_bytes} for part in by_turns(beside)]
    others = parts + [each for each in other_services(host, service) if not budget.of(each["service"])]
    found = Share(memory_bytes, reserve_gib, others, wish, 1.0, False, offloaded_bytes, ray_bytes)
    if not memory_bytes:
        return found
    alone = _left(found.memory_gib, found.memory_gib - reserve_gib)
    if alone <= 0 or not (others or offloaded_bytes or ray_bytes):
        return found._replace(cap=alone)
    taken = reserve_gib + found.other_services_gib + (offloaded_bytes + ray_bytes) / GIB
    left = _left(found.memory_gib, found.memory_gib - taken)
    if own and own.why == LEAST and own.share <= left:
        return found._replace(cap=own.share, is_least=True)
    is_out = _left(found.memory_gib, found.memory_gib - reserve_gib - found.other_services_gib) < LOWEST
    return found._replace(cap=max(left, LOWEST), is_out=is_out)


def _left(total: float, left: float) -> float:
    """The share of what is left, with two digits as vLLM gets it."""
    return math.floor(left / total * 100 + NOTHING) / 100


def other_services(host: HostState, service: str) -> list[dict[str, t.Any]]:
    """Services of the collection that hold memory and go on: not this one, nor the one that gives up its port."""
    port_holder = (host.get("listener") or {}).get("container") or ""
    return [
        other
        for other in host.get("services") or []
        if other["service"] != service and other.get("container") != port_holder and other.get("planned_bytes")
    ]


def own_services(host: HostState, service: str) -> list[dict[str, t.Any]]:
    """What runs of this service now."""
    return [own for own in host.get("services") or [] if own["service"] == service]


def oversized(host: HostState, service: str, budget: Budget, swapped: t.Collection[str] = ()) -> list[dict[str, t.Any]]:
    """Other services of BUDGET that hold more than their part until they are deployed again. SWAPPED give way."""
    return [
        {"service": other["service"], "planned_bytes": other["planned_bytes"], "part_bytes": part.planned_bytes}
        for other in other_services(host, service)
        if other["service"] not in swapped
        and (part := budget.of(other["service"]))
        and other["planned_bytes"] > part.planned_bytes + TOLERANCE_BYTES
    ]


def available_bytes(host: HostState) -> int:
    return int((host.get("memory") or {}).get("available_bytes") or 0)


def comes_free_bytes(host: HostState, service: str, swapped: t.Collection[str] = ()) -> int:
    """What a start of this service finds: what it holds now comes back, at most its plan and a few GiB beside it.

    So does what those hold that it takes turns with (SWAPPED). Of one that was deployed without a plan nothing is
    known: all of the memory may be its own. A container that has ended has given its memory back before.
    """
    total = int((host.get("memory") or {}).get("total_bytes") or 0)
    names = (service, *swapped)
    own = [each for name in names for each in own_services(host, name) if each.get("running", True)]
    back = sum(int(each.get("planned_bytes") or total) + BESIDE_PLAN_BYTES for each in own)
    return min(available_bytes(host) + back, total)


def is_taken(host: HostState, service: str, needed_bytes: int, swapped: t.Collection[str] = ()) -> bool:
    """Whether something else uses the memory that a start needs: a desktop, Ollama, a container that is not ours."""
    return available_bytes(host) > 0 and comes_free_bytes(host, service, swapped) + TOLERANCE_BYTES < needed_bytes
