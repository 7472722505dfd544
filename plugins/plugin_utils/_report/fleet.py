# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what vllm_health and spark_info say of each host to one report on the fleet. Pure: data in, data out."""

from __future__ import annotations

import re
import time
import typing as t
from collections import Counter

from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import as_dict, condition
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import link
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import epoch
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.services import RELEASE_LABEL
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import HEALTHY_SM_CLOCK_MHZ
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import real, whole

from .notes import NOTES, STORED, UNSEEN
from .unseen import why_failed, why_unreachable

Facts = t.Mapping[str, t.Any]
Report = dict[str, t.Any]

# A service that waits for its turn in a swap group is as it should be.
WELL = {"ready", "waiting"}
KV_NEARLY_FULL = 0.95
# Less of the planned KV cache is worth a word: something took memory that was free in the plan. A release says itself
# how little its plan expects; of one that does not, this share.
KV_AS_PLANNED = 0.9
# Tokens a second. Below, it is the one token of a health check or of the watchdog, and no one waits for more.
SLOWEST_STREAM = 2
# Three prompts of the default context length. A cache that found nothing by then is not about to.
MANY_TOKENS = 100_000
# Drafts of which fewer are accepted cost about as much as they save (W), once there are enough to tell.
DRAFTS_PAY = 0.2
MANY_DRAFTS = 10_000

FIRMWARE = {"bios": "UEFI", "vbios": "VBIOS", "connectx7": "ConnectX-7"}
_TEXTS = {note.id: note for note in (*NOTES, *UNSEEN, *STORED)}
_METRICS = (
    "running",
    "waiting",
    "kv_cache_usage",
    "prefix_cache_hit_rate",
    "draft_acceptance_rate",
    "preemptions",
    "generation_tokens_per_second",
    "prompt_tokens_per_second",
)


def build(
    hosts: t.Sequence[str],
    health: t.Mapping[str, Facts | None],
    spark: t.Mapping[str, Facts | None],
    wanted: t.Mapping[str, Facts | None],
    now: float,
    faults: t.Mapping[str, t.Sequence[Facts] | None] | None = None,
) -> Report:
    """The whole report, in the order of HOSTS. FAULTS are what resolve() returns in host_faults."""
    health = with_heads(health, wanted)
    entries = [entry(name, health.get(name), spark.get(name), wanted.get(name), now) for name in hosts]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "verdicts": dict(Counter(each["verdict"] for each in entries)),
        "unhealthy": [each["host"] for each in entries if each["verdict"] not in WELL],
        "hosts": entries,
        "notes": [
            *merged(
                note
                for name in hosts
                for note in (
                    *known_faults(name, (faults or {}).get(name) or ()),
                    *notes(name, health.get(name), spark.get(name), wanted.get(name)),
                )
            ),
            *drifts({name: spark.get(name) for name in hosts}),
        ],
    }


def with_heads(health: t.Mapping[str, Facts | None], wanted: t.Mapping[str, Facts | None]) -> dict[str, Facts | None]:
    """A worker only says whether it is connected with its head; whether both serve, the head says (WANTED: nodes)."""
    found = dict(health)
    for name, its in wanted.items():
        head, *workers = (its or {}).get("nodes") or [""]
        own, other = health.get(name) or {}, health.get(head) or {}
        if name in workers and own.get("verdict") == "ready":
            found[name] = {**own, **_by_head(head, other)}
    return found


def _by_head(head: str, its: Facts) -> Facts:
    """What takes the place of `ready`. A connection outlives a head without power: nothing has told of its end."""
    if its.get("unreachable"):
        cause = condition("peer_lost", f"the head {head} cannot be reached, and no other host gives a token")
        return {"verdict": "degraded", "phase": "server", "cause": as_dict(cause)}
    if its.get("verdict", "ready") == "ready":
        return {}
    return {key: its.get(key) for key in ("verdict", "phase", "cause")}


def entry(name: str, health: Facts | None, spark: Facts | None, wanted: Facts | None, now: float) -> Report:
    """What the report says of one host. What is not known is None."""
    health, spark, wanted = health or {}, spark or {}, wanted or {}
    metrics, gpu, container = health.get("metrics") or {}, spark.get("gpu") or {}, health.get("container") or {}
    labels = container.get("labels") or {}
    runs = container.get("status") == "running"
    started = epoch(str(container.get("started_at"))) if runs else None
    verdict, cause = judged(health)
    found: Report = {
        "host": name,
        "verdict": verdict,
        "phase": health.get("phase"),
        "percent": (health.get("progress") or {}).get("percent"),
        "idle_seconds": health.get("idle_seconds"),
        "cause": cause,
        "previous_cause": for_its_owner(health.get("previous_cause"), health),
        "hint": for_its_owner(health.get("hint"), health),
        "model": health.get("model"),
        "wanted_model": wanted.get("model"),
        "image": container.get("image"),
        "wanted_image": wanted.get("image"),
        "profile": labels.get("dgxspark.vllm.profile"),
        "release": labels.get("dgxspark.vllm.release"),
        "wanted_release": wanted.get("release"),
        "drift": runs and is_drift(container.get("image"), labels.get("dgxspark.vllm.release"), wanted),
        "vllm_version": health.get("vllm_version"),
        "kv_cache_tokens": health.get("kv_cache_tokens"),
        "planned_tokens": planned_tokens(labels),
        "since": container.get("started_at") if runs else None,
        # the clocks of controller and host may differ a little
        "since_seconds": None if started is None else max(0, int(now - started)),
        **{key: metrics.get(key) for key in _METRICS},
        "gpu_temperature_c": gpu.get("temperature_c"),
        "gpu_sm_clock_mhz": gpu.get("sm_clock_mhz"),
        "gpu_utilization_percent": gpu.get("utilization_percent"),
        "gpu_throttled": (spark.get("throttle") or {}).get("throttled"),
        "driver": gpu.get("driver"),
        "firmware": dict(spark.get("firmware") or {}),
        "memory_available_bytes": (spark.get("memory") or {}).get("available_bytes"),
    }
    return {**found, "summary": summary(found)}


def is_drift(image: str | None, release: str | None, wanted: Facts) -> bool:
    """Whether what runs is not what the inventory wants. What is not known is no drift."""
    pairs = ((image, wanted.get("image")), (release, wanted.get("release")))
    return any(have and want and have != want for have, want in pairs)


def exit_code(hosts: t.Sequence[Facts]) -> int:
    """What a program is to learn of all hosts at once, the worst first."""
    verdicts = {host["verdict"] for host in hosts}
    if "unreachable" in verdicts:
        return 4
    if verdicts - WELL:
        return 2
    return 3 if any(host["drift"] for host in hosts) else 0


def planned_tokens(labels: Facts) -> int | None:
    """What the release that runs was planned with."""
    return _label(labels, "planned_tokens")


def expected_tokens(labels: Facts) -> float | None:
    """The fewest tokens that agree with its plan."""
    planned, least = planned_tokens(labels), _label(labels, "planned_tokens_least")
    if planned is None:
        return None
    return KV_AS_PLANNED * planned if least is None else min(least, KV_AS_PLANNED * planned)


def _label(labels: Facts, name: str) -> int | None:
    return whole(labels.get(f"dgxspark.vllm.{name}"))


def judged(health: Facts) -> tuple[str, Facts | None]:
    """Verdict and cause, also of a host that could not be asked and of a check that failed."""
    if health.get("unreachable"):
        return "unreachable", unseen(why_unreachable(str(health.get("msg"))).id, health.get("msg"))
    if not health.get("verdict"):
        message = health.get("msg") or "no message; see the task that failed, above"
        return "unknown", unseen(why_failed(str(message)).id, message)
    # a server of others has a name, a context and a key of its own: what differs from the wish is no fault of it
    if health["verdict"] in ("ready", "degraded") and is_foreign(health.get("container") or {}):
        seen = [f"container {health['container'].get('name')}", (health.get("cause") or {}).get("evidence")]
        return "not managed", unseen("not_managed", "; ".join(filter(None, seen)))
    return health["verdict"], for_its_owner(health.get("cause"), health)


def is_foreign(container: Facts) -> bool:
    """Whether it runs, and is not of this collection."""
    return container.get("status") == "running" and has_no_release(container)


def has_no_release(container: Facts) -> bool:
    """Whether it is not of this collection. What has no labels at all was not read."""
    labels = container.get("labels")
    return labels is not None and RELEASE_LABEL not in labels


def for_its_owner(cause: Facts | None, health: Facts) -> Facts | None:
    """The cause as it is to be said of a server of others, which no variable of this collection reaches.

    Where this collection has a unit of that name, the cause may be that of the unit.
    """
    container = health.get("container") or {}
    if not cause or health.get("service") or not has_no_release(container):
        return cause
    name, remedy = container.get("name"), cause["remedy"]
    if cause["id"] == "stopped":
        remedy = f"start it again as it was started, or with `docker start {name}`"
    elif re.search(r"\bvllm_\w|playbooks/", remedy):
        remedy = (
            "do the same in its own environment or options, where it was started: variables and playbooks of this"
            f" collection do not reach it. Of a server of this collection: {remedy}"
        )
    meaning = f"{cause['meaning']} (container {name}, which is not of this collection)"
    return {**cause, "meaning": meaning, "remedy": remedy, "change": {}, "sets": {}}


def unseen(name: str, message: t.Any) -> Report:
    text = _TEXTS[name]
    cause = {"id": name, "meaning": text.meaning, "remedy": text.remedy, "evidence": in_one_line(message)}
    return {**cause, "link": link(name), "change": {}}


def in_one_line(message: t.Any) -> str:
    """The message of a failed task, without what Ansible puts before it."""
    said = plain(" ".join(str(message or "").split()))
    return re.sub(r"^(?:(?:Task|Action|Module) failed: )+", "", said)


def summary(found: Facts) -> str:
    """The state of a host in one line."""
    if found["verdict"] != "loading":
        return f"{found['verdict']}: {found['cause']['meaning']}" if found["cause"] else str(found["verdict"])
    parts = [f"phase {found['phase']}"] if found["phase"] else []
    if found["percent"] is not None:
        parts.append(f"{found['percent']} %")
    if (found["idle_seconds"] or 0) >= 60:
        parts.append(f"nothing new for {age(found['idle_seconds'])}")
    return f"loading: {', '.join(parts)}" if parts else "loading"


def age(seconds: float) -> str:
    """How long something lasts: `2 h 5 min`."""
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def date(seconds: t.Any) -> str | None:
    """A time of the host, in seconds since 1970: `2026-11-23 15:00 UTC`."""
    value = real(seconds)
    if value is None:
        return None
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(value))
    except (OverflowError, ValueError, OSError):  # a clock or a file that is far off
        return None


def note(name: str, hosts: t.Sequence[str], **numbers: t.Any) -> Report:
    text = _TEXTS[name]
    return {
        "id": name,
        "hosts": list(hosts),
        "meaning": text.meaning.format(**numbers),
        "remedy": text.remedy,
        "link": link(name),
    }


def merged(found: t.Iterable[Report]) -> list[Report]:
    """One note for all hosts of which the same is to be said."""
    notes: dict[tuple[str, ...], Report] = {}
    for each in found:
        known = notes.setdefault((each["id"], each["meaning"], each.get("evidence", "")), each)
        if known is not each:
            known["hosts"] += each["hosts"]
    return list(notes.values())


def notes(name: str, health: Facts | None, spark: Facts | None, wanted: Facts | None) -> t.Iterator[Report]:
    """What is worth a word about one host, whatever the others say."""
    yield from _about_machine(name, spark or {})
    yield from _shown_by_machine(name, health or {})
    yield from _about_service(name, health or {}, wanted or {})
    holder = (spark or {}).get("listener") or {}
    # without Docker's answer the holder may be the server itself; a worker of several hosts needs no port
    is_known = ((spark or {}).get("docker") or {}).get("running") is not False
    is_worker = name in ((wanted or {}).get("nodes") or [])[1:]
    if holder and is_known and not is_worker and (health or {}).get("verdict") in ("failed", "absent"):
        process = f"process {holder['process'] or 'unknown'} (pid {holder['pid'] or 'unknown'})"
        who = f"the container {holder['container']}" if holder["container"] else process
        yield note("port_held", [name], port=holder["port"], who=who)


def _about_machine(name: str, spark: Facts) -> t.Iterator[Report]:
    gpu = spark.get("gpu") or {}
    if (spark.get("throttle") or {}).get("throttled"):
        numbers = {"clock": gpu.get("sm_clock_mhz"), "load": gpu.get("utilization_percent")}
        yield note("gpu_throttled", [name], expected=HEALTHY_SM_CLOCK_MHZ, **numbers)
    if (spark.get("low_memory") or {}).get("low"):
        yield note("low_memory", [name], available=spark["memory"]["available_bytes"] / 1024**3)


def known_faults(name: str, faults: t.Sequence[Facts]) -> t.Iterator[Report]:
    for fault in faults:
        yield {**note("host_fault", [name], what=fault["what"]), "remedy": fault["remedy"]}


def _shown_by_machine(name: str, health: Facts) -> t.Iterator[Report]:
    """What kernel log and sensors show, unless the verdict says it already."""
    said = (health.get("cause") or {}).get("meaning") or ""
    for shown in health.get("machine") or ():
        if shown["meaning"] not in said:
            yield {"hosts": [name], **{key: shown[key] for key in ("id", "meaning", "remedy", "evidence", "link")}}


def _about_service(name: str, health: Facts, wanted: Facts) -> t.Iterator[Report]:
    container, metrics = health.get("container") or {}, health.get("metrics") or {}
    running, waiting = metrics.get("running"), metrics.get("waiting")
    usage, rate = metrics.get("kv_cache_usage"), metrics.get("generation_tokens_per_second")
    image = container.get("image") if container.get("status") == "running" else None
    labels, tokens = container.get("labels") or {}, health.get("kv_cache_tokens")
    release = labels.get("dgxspark.vllm.release")
    failed = (health.get("failed_releases") or {}).get(wanted.get("release") or "")
    if image and release and failed is not None and release != wanted["release"]:
        yield note("wanted_failed", [name], running=release, wanted=wanted["release"], time=date(failed) or "?")
    elif image and wanted.get("image") and image != wanted["image"]:
        yield note("other_image", [name], running=image, wanted=wanted["image"])
    elif image and wanted.get("image") and release and release != (wanted.get("release") or release):
        yield note("release_drift", [name], running=release, wanted=wanted["release"])
        if wanted.get("share"):
            yield note("share_capped", [name], share=wanted["share"])
    if health.get("verdict") == "loading" and has_no_release(container) and not health.get("service"):
        yield note("others_container", [name], container=container.get("name"))
    if beside := wanted.get("beside"):
        yield note("services_beside", [name], services=", ".join(beside), runs="runs" if len(beside) == 1 else "run")
    expected = expected_tokens(labels)
    if expected and tokens and tokens < expected:
        yield note("kv_below_plan", [name], real=tokens, planned=planned_tokens(labels))
    if health.get("nccl_network") == "Socket":
        yield note("nccl_sockets", [name])
    if metrics.get("preemptions"):
        yield note("preemptions", [name], count=metrics["preemptions"])
    if usage is not None and usage >= KV_NEARLY_FULL and waiting:
        yield note("kv_nearly_full", [name], usage=100 * usage, waiting=waiting)
    if (rate or 0) >= SLOWEST_STREAM and running is not None and running <= 1 and waiting == 0:
        yield note("single_requests", [name], rate=rate, running=running)
    queries = metrics.get("prefix_cache_queries") or 0
    if queries >= MANY_TOKENS and metrics.get("prefix_cache_hits") == 0:
        yield note("no_prefix_hits", [name], queries=queries)
    drafted, accepted = metrics.get("draft_tokens") or 0, metrics.get("draft_acceptance_rate")
    if drafted >= MANY_DRAFTS and accepted is not None and accepted < DRAFTS_PAY:
        yield note("drafts_rejected", [name], drafted=drafted, share=100 * accepted)


def drifts(spark: t.Mapping[str, Facts | None]) -> t.Iterator[Report]:
    """Versions that are not the same on all hosts. A host that does not say its version takes no part."""
    known = {name: facts for name, facts in spark.items() if facts}
    yield from drift("driver_drift", {name: (facts.get("gpu") or {}).get("driver") for name, facts in known.items()})
    firmware = {name: facts.get("firmware") or {} for name, facts in known.items()}
    yield from drift("dgx_os_drift", {name: versions.get("dgx_os") for name, versions in firmware.items()})
    for part in sorted({part for versions in firmware.values() for part in versions} - {"dgx_os"}):
        versions_of_part = {name: versions.get(part) for name, versions in firmware.items()}
        yield from drift("firmware_drift", versions_of_part, part=FIRMWARE.get(part, part))


def drift(name: str, versions: t.Mapping[str, str | None], **words: str) -> t.Iterator[Report]:
    """One note for each version that the majority does not have, or one for all when there is no majority."""
    groups: dict[str, list[str]] = {}
    for host, version in versions.items():
        if version:
            groups.setdefault(version, []).append(host)
    if len(groups) < 2:
        return
    total = sum(len(hosts) for hosts in groups.values())
    most = max(groups, key=lambda version: len(groups[version]))
    if 2 * len(groups[most]) <= total:  # of two hosts that differ, nobody knows which one is right
        listed = "; ".join(f"{version} on {', '.join(hosts)}" for version, hosts in groups.items())
        everybody = [host for host, version in versions.items() if version]
        yield note(name, everybody, differs=f"differs: {listed}", **words)
        return
    for version, hosts in groups.items():
        if version != most:
            differs = f"is {version}; {len(groups[most])} of {total} hosts have {most}"
            yield note(name, hosts, differs=differs, **words)
