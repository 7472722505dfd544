# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on the fleet as one HTML page that needs nothing else. Pure: data in, text out.

What stands on the page comes from hosts, so each value is escaped, loses its control characters, and is searched for
tokens. The page has no script, and its policy forbids every other source than its own style sheet.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import time
import typing as t
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import mask_addresses
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import releases as stored_releases
from . import stored
from .fleet import Facts, Report, age, merged
from .fleet_table import EVIDENCE
from .fleet_table import shorten as cut

# Long enough to be none of the variables hf_cache_x.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{16,}")
FOLDER = Path(__file__).parent / "page"
# Word and sign of a verdict: nothing is told by color alone.
_SIGNS = {
    "ready": ("good", "✓"),
    "loading": ("wait", "…"),
    "waiting": ("wait", "–"),
    "unreachable": ("bad", "?"),
    "unknown": ("bad", "?"),
}
_OTHER = ("bad", "✕")
# Verdicts of hosts of which nothing is known.
UNSEEN = ("unreachable", "unknown")
_DRIFT = ("release_drift", "wanted_failed", "other_image", "driver_drift", "dgx_os_drift", "firmware_drift")


class Fact(t.NamedTuple):
    """A line of a card."""

    name: str
    value: str
    share: float | None = None  # 0 to 1, drawn as a bar


def page(
    report: Facts,
    releases: t.Mapping[str, Facts | None],
    caches: t.Mapping[str, Facts | None],
    problems: t.Mapping[str, str | None] | None = None,
    plots: t.Sequence[tuple[str, str, str]] = (),
) -> str:
    """REPORT is what fleet.build() returns; RELEASES and CACHES what vllm_releases_info and hf_cache_info return.

    PROBLEMS are the reasons why these two could not be read, by host. PLOTS of benchmarks are host, caption and SVG.
    """
    hosts = report["hosts"]
    noted = merged(
        found
        for host in hosts
        for found in stored.notes(host["host"], caches.get(host["host"]), (problems or {}).get(host["host"]))
    )
    findings = [*troubles(hosts), *(_finding(note, len(hosts)) for note in (*report["notes"], *noted))]
    style = (FOLDER / "fleet.css").read_text(encoding="utf-8")
    return _template().render(
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        time=_moment(report["time"]),
        counts=[(verdict, number, _sign(verdict)) for verdict, number in report["verdicts"].items()],
        total=len(hosts),
        findings=findings,
        cards=[card(host, report["notes"], caches.get(host["host"])) for host in hosts],
        plots=[(host, caption, Markup(_data(svg))) for host, caption, svg in plots],
        releases=[(host["host"], stored_releases.rows(releases.get(host["host"]))) for host in hosts],
    )


def _data(svg: str) -> str:
    """As the address of a picture: nothing in it can run."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


@functools.cache
def _template() -> t.Any:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("fleet.html.j2")


def _finalize(value: t.Any) -> t.Any:
    """Each value that is put into the page, before it is escaped."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else _TOKEN.sub("hf_***", mask_addresses(plain(str(value))))


def _sign(verdict: str) -> tuple[str, str]:
    return _SIGNS.get(verdict, _OTHER)


def _moment(stamp: t.Any) -> str:
    """`2026-11-23T15:00:00.5Z` as `2026-11-23 15:00 UTC`; what is no such time as it is."""
    text = str(stamp)
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.strptime(text[:16], "%Y-%m-%dT%H:%M"))
    except ValueError:
        return text


# ---- findings ----------------------------------------------------------------------------------------------------


def troubles(hosts: t.Sequence[Facts]) -> list[Report]:
    """Why hosts are not ready, once for all hosts of which the same is to be said."""
    found: dict[str, Report] = {}
    for host in hosts:
        if host["verdict"] == "ready":
            continue
        causes = [("", host["cause"])] if host["cause"] else []
        if not causes:
            causes = [(name, host[key]) for name, key in _EARLIER if host[key]]
        one = {
            "kind": _sign(host["verdict"]),
            "hosts": [host["host"]],
            "meaning": host["summary"],
            "causes": [_cause(title, cause) for title, cause in causes],
        }
        known = found.setdefault(repr((one["meaning"], one["causes"])), one)
        if known is not one:
            known["hosts"].append(host["host"])
    return [{**one, "hosts": ", ".join(one["hosts"])} for one in found.values()]


_EARLIER = (("Restarted after", "previous_cause"), ("Perhaps", "hint"))


def _cause(title: str, cause: Facts) -> Report:
    return {
        "title": f"{title}: {cause.get('meaning')}" if title else "",
        "remedy": cause.get("remedy"),
        "evidence": cut(" ".join(str(cause.get("evidence") or "").split()), EVIDENCE),
        "link": cause.get("link"),
    }


def _finding(note: Facts, everybody: int) -> Report:
    hosts = "all hosts" if len(note["hosts"]) == everybody > 1 else ", ".join(note["hosts"])
    return {"kind": ("note", "!"), "hosts": hosts, "meaning": note["meaning"], "causes": [_cause("", note)]}


# ---- cards -------------------------------------------------------------------------------------------------------


def card(host: Facts, notes: t.Sequence[Facts], cache: Facts | None) -> Report:
    return {
        "host": host["host"],
        "verdict": host["verdict"],
        "kind": _sign(host["verdict"]),
        "summary": "" if host["verdict"] == host["summary"] else host["summary"].partition(": ")[2],
        "facts": [*_service(host), *_work(host), *_machine(host), *_disk(cache or {}), *_drift(host, notes)],
    }


def _service(host: Facts) -> t.Iterator[Fact]:
    nothing = "not known" if host["verdict"] in UNSEEN else "none"
    for name in ("model", "image"):
        if host[name]:
            yield Fact(name.capitalize(), host[name])
        elif host[f"wanted_{name}"]:
            yield Fact(name.capitalize(), f"{nothing}; the inventory wants {host[f'wanted_{name}']}")
    if host["profile"]:
        yield Fact("Profile", host["profile"])
    if host["vllm_version"]:
        yield Fact("vLLM", host["vllm_version"])
    if host["release"]:
        yield Fact("Release", host["release"])
    if host["since_seconds"] is not None:
        yield Fact("Since", f"{_moment(host['since'])} ({age(host['since_seconds'])})")


def _work(host: Facts) -> t.Iterator[Fact]:
    real, planned = host["kv_cache_tokens"], host["planned_tokens"]
    if real and planned:
        share = real / planned
        yield Fact("KV cache", f"{real:,} tokens, {100 * share:.0f} % of the planned {planned:,}", min(share, 1.0))
    elif real or planned:
        yield Fact("KV cache", f"{real:,} tokens, no plan" if real else f"{planned:,} tokens planned")
    if host["kv_cache_usage"] is not None:
        yield Fact("KV cache in use", f"{100 * host['kv_cache_usage']:.0f} %", host["kv_cache_usage"])
    if host["generation_tokens_per_second"] is not None:
        yield Fact("Tokens/s", f"{host['generation_tokens_per_second']:.1f} generated")
    if host["running"] is not None:
        yield Fact("Requests", f"{host['running']} running, {host['waiting'] or 0} waiting")
    if host["prefix_cache_hit_rate"] is not None:
        yield Fact("Prefix cache hits", f"{100 * host['prefix_cache_hit_rate']:.0f} %")
    if host["draft_acceptance_rate"] is not None:
        yield Fact("Drafts accepted", f"{100 * host['draft_acceptance_rate']:.0f} %")
    if host["preemptions"] is not None:
        yield Fact("Preemptions", str(host["preemptions"]))


def _machine(host: Facts) -> t.Iterator[Fact]:
    if host["gpu_temperature_c"] is not None:
        yield Fact("GPU temperature", f"{host['gpu_temperature_c']} °C")
    if host["gpu_sm_clock_mhz"] is not None:
        load = host["gpu_utilization_percent"]
        throttled = ", throttled" if host["gpu_throttled"] else ""
        yield Fact("GPU clock", f"{host['gpu_sm_clock_mhz']} MHz at {load} % load{throttled}")
    if host["driver"]:
        yield Fact("Driver", host["driver"])
    if host["memory_available_bytes"] is not None:
        yield Fact("Memory available", f"{host['memory_available_bytes'] / 1024**3:.1f} GiB")


def _disk(cache: Facts) -> t.Iterator[Fact]:
    free, total = cache.get("free_bytes"), cache.get("total_bytes")
    if free is not None and total:
        used = min(max(1 - free / total, 0.0), 1.0)
        yield Fact("Disk of the cache", f"{stored.measure(free)} free of {stored.measure(total)}", used)
    partials = cache.get("partials")
    if partials is not None:
        states = {True: "in progress", False: "dead", None: "in an unknown state"}
        numbers = {word: sum(one.get("live") is live for one in partials) for live, word in states.items()}
        yield Fact(
            "Partial downloads", ", ".join(f"{number} {word}" for word, number in numbers.items() if number) or "none"
        )


def _drift(host: Facts, notes: t.Sequence[Facts]) -> t.Iterator[Fact]:
    if host["verdict"] in UNSEEN:
        return  # not compared
    cause = (host["cause"] or {}).get("id")
    found = [cause] if cause == "other_release" else []
    found += [note["id"] for note in notes if note["id"] in _DRIFT and host["host"] in note["hosts"]]
    words = [name.removesuffix("_drift").replace("_", " ") for name in dict.fromkeys(found)]
    yield Fact("Drift", ", ".join(words) or "none")
