# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTML page of a fleet: what stands on it, that it is well formed, and that no host can put markup into it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import typing as t
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fleet import MODEL, Fleet, sixteen

# Elements without an end tag.
VOID = {"meta", "link", "img"}
SVG = {"rect"}  # closed in itself


class Page(HTMLParser):
    """Reads a page strictly: an element that is not closed where it should be is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module", name="text")
def _text() -> str:
    return sixteen().page()


@pytest.fixture(scope="module", name="page")
def _page(text: str) -> Page:
    return Page(text)


def card(text: str, host: str) -> str:
    """The words of the card of a host."""
    (found,) = re.findall(rf"<h3 id=\"host-\d+\">{host}</h3>(.*?)</article>", text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_every_host_has_a_card(text: str, page: Page) -> None:
    assert page.text["h3"] == [f"spark{number:02}" for number in range(1, 17)]
    assert "16 hosts" in page.said()
    for count in ("11 ready", "2 failed", "1 unreachable", "1 loading", "1 unknown"):
        assert count in page.said()


def test_a_card_of_a_host_that_serves(text: str) -> None:
    shown = card(text, "spark01")
    for part in (
        "ready",
        f"Model {MODEL}",
        "Profile throughput",
        "Image nvcr.io/nvidia/vllm:25.09-py3",
        "Since 2026-11-23 12:55 UTC (2 h 4 min)",
        "KV cache 623,104 tokens, 97 % of the planned 640,000",
        "Tokens/s 402.5 generated",
        "GPU temperature 74 °C",
        "GPU clock 2418 MHz at 96 % load",
        "3.52 TB free of 3.94 TB",
        "Partial downloads none",
        "Drift none",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("spark02", ["failed", "one request of 32768 tokens needs", f"none; the inventory wants {MODEL}"]),
        ("spark03", ["unreachable", f"not known; the inventory wants {MODEL}"]),
        ("spark04", ["loading", "phase load, 50 %"]),
        ("spark05", ["Release ba9876543210", "Drift release"]),
        ("spark06", ["611 MHz at 96 % load, throttled"]),
        ("spark07", ["Driver 580.142", "Drift driver"]),
        ("spark08", ["Partial downloads 1 dead", "150.0 GB free"]),
        ("spark09", ["unknown", "the check itself failed"]),
    ],
)
def test_a_card_of_a_host_that_is_ill(text: str, host: str, parts: list[str]) -> None:
    for part in parts:
        assert part in card(text, host)


def test_findings_come_with_their_remedies_and_the_worst_ones_first(text: str) -> None:
    (findings,) = re.findall(r"<h2 id=\"findings\">(.*?)</section>", text, re.DOTALL)
    items = re.findall(r"<li class=\"(\w+)\">(.*?)</li>", findings, re.DOTALL)
    kinds = [kind for kind, _item in items]
    assert kinds == sorted(kinds, key=lambda kind: kind == "note")
    assert [kind for kind, _item in items if kind != "note"] == ["bad", "bad", "wait", "bad", "bad"]
    for kind, item in items:
        assert "<dt>Remedy</dt>" in item or kind == "wait"
    for seen in ("No route to host", "did you mean qwen3-8b-fp8?", "estimated maximum model length", "Permission"):
        assert seen in findings
    for note in ("gpu_throttled", "driver_drift", "release_drift", "kv_below_plan"):
        assert f"docs/troubleshooting.md#{note}" in findings
    for note in ("disk_nearly_full", "dead_partials", "model_damaged", "report_incomplete"):
        assert f"docs/troubleshooting.md#{note}" in findings
    assert "1 files missing, 1 truncated" in findings
    assert "1 dead partial downloads take 1.0 GB" in findings


def test_the_release_history(text: str) -> None:
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">(\w+)</th>(.*?)</tr>", text)
    mine = [re.sub("<[^>]+>", "|", row) for host, row in rows if host == "spark01"]
    assert len(mine) == 3
    assert re.search(r"3f1c9a0b7d2e.*current.*throughput.*2026-11-23 12:30 UTC.*2026-11-23 12:55 UTC", mine[0])
    assert re.search(r"ba9876543210.*good; rollback.yml returns to it.*latency", mine[1])
    assert re.search(r"0123456789ab.*staged, not started.*Qwen3-30B-A3B.*never", mine[2])
    assert [row for host, row in rows if host == "spark03"] == ['<td colspan="7">none known</td>']


def test_a_fleet_without_a_finding() -> None:
    fleet = sixteen()
    fleet.health["spark01"]["metrics"]["preemptions"] = 0
    text = fleet._replace(hosts=["spark01"]).page()
    assert "<p>None.</p>" in text
    assert "1 host\n" in text or "1 host<" in text


# ---- form --------------------------------------------------------------------------------------------------------


def test_headings_are_in_order_and_ids_are_unique(page: Page) -> None:
    levels = [int(tag[1]) for tag, _attrs in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attrs["id"] for _tag, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for _tag, attrs in page.tags:
        assert attrs.get("aria-labelledby", ids[0]) in ids
        assert (attrs.get("href") or "").removeprefix("#") in ("", "data:,", *ids)


def test_landmarks_and_language(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    for tag in ("title", "header", "nav", "main", "footer"):
        assert len(page.all(tag)) == 1
    assert {"scope": "col"} in page.all("th")
    for drawing in page.all("svg"):
        assert drawing["aria-hidden"] == "true"  # the figure stands beside it


def test_nothing_is_told_by_color_alone(text: str) -> None:
    for verdict in ("ready", "failed", "loading", "unreachable", "unknown"):
        assert re.search(rf"class=\"verdict\"><span class=\"sign\" aria-hidden=\"true\">.</span> {verdict}</p>", text)


def test_the_page_loads_nothing(text: str, page: Page) -> None:
    """Neither elements that load nor addresses in attributes or styles; and a policy that would forbid them."""
    tags = {tag for tag, _attrs in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "video", "audio", "base"}
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    (plot,) = page.all("img")
    assert (plot["src"] or "").startswith("data:image/svg+xml;base64,")
    assert (plot["alt"] or "").endswith("mode quick <x>")
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "srcset")]
        assert "src" not in attrs or tag == "img"
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"url\(|@import|https?:", style)
    (policy,) = (attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy and policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}';" in policy


def test_light_dark_and_print(text: str) -> None:
    for rule in ("prefers-color-scheme: dark", "@media print", "break-inside: avoid", "color-scheme: light dark"):
        assert rule in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


# ---- what hosts say ----------------------------------------------------------------------------------------------

EVIL = st.one_of(
    st.sampled_from(
        [
            "</title></style><script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "' onmouseover='x",
            "<!--",
            "]]>",
            "&lt;b&gt;",
            "{{ 7 * 7 }}{% raw %}",
            "\x1b]0;x\x07\u202e</p>",
        ]
    ),
    st.text(max_size=40),
)


def with_text(value: str) -> Fleet:
    """A small fleet in which every text is VALUE."""
    fleet = sixteen()
    hosts = ["a" + value, "b" + value, "c" + value]
    ready, failed = fleet.health["spark05"], fleet.health["spark02"]
    for state in (ready, failed):
        state.update(model=value, vllm_version=value)
        state["container"].update(image=value)
        state["container"]["labels"].update({"dgxspark.vllm.profile": value, "dgxspark.vllm.release": value})
    failed["cause"].update(meaning=value, remedy=value, evidence=value, link=value)
    fleet.spark["spark05"]["gpu"]["driver"] = value
    for release in fleet.releases["spark05"]["releases"]:
        release.update(id=value, facts={"model": value, "profile": value, "image": value})
    for repository in fleet.caches["spark08"]["repositories"]:
        repository.update(repo_id=value, broken=[{"state": value}])
    return Fleet(
        hosts,
        dict(zip(hosts, [ready, failed, {"unreachable": True, "msg": value}], strict=True)),
        dict.fromkeys(hosts, fleet.spark["spark05"]),
        dict.fromkeys(hosts, {"model": value, "image": value, "release": value}),
        dict.fromkeys(hosts, fleet.releases["spark05"]),
        dict.fromkeys(hosts, fleet.caches["spark08"]),
        dict.fromkeys(hosts, value),
    )


def shape(fleet: Fleet) -> list[tuple[str, dict[str, str | None]]]:
    return Page(fleet.page()).tags


@given(EVIL)
@settings(max_examples=30)
def test_no_text_of_a_host_becomes_markup(value: str) -> None:
    """Whatever it is, the elements and their attributes are those of a harmless text."""
    assert shape(with_text(f"y{value}")) == shape(with_text("y"))


def test_markup_is_shown_as_it_is() -> None:
    text = with_text("<script>alert(1)</script>").page()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "y&lt;b" in with_text("y<b").page()


def test_no_control_character_and_no_change_of_direction() -> None:
    text = with_text("a\x1b[31m\x00\u202eb").page()
    assert not set(text) & set("\x1b\x00\u202e")
    assert "ab" in text


TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz012345"


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        (f"401 for {TOKEN} at the hub", TOKEN),
        ("proxy http://operator:s3cret@proxy:3128", "s3cret"),
        ("https://cdn.example/file?X-Amz-Signature=0123abcd", "0123abcd"),
    ],
)
def test_no_secret(said: str, secret: str) -> None:
    text = with_text(said).page()
    assert secret not in text
    assert "***" in text


def test_a_variable_is_no_secret() -> None:
    assert "hf_cache_path: wrong; see hf_overrides" in with_text("hf_cache_path: wrong; see hf_overrides").page()


def test_facts_that_no_page_needs_are_left_out() -> None:
    """Of a release only what the table names: a file on the host may hold anything."""
    fleet = sixteen()
    for release in fleet.releases["spark01"]["releases"]:
        release["facts"]["api_key"] = "0123456789abcdef-key"
    assert "0123456789abcdef-key" not in fleet.page()


@pytest.mark.parametrize("broken", [None, {}, {"releases": [{"id": "x", "good": 1e300, "staged": "y", "facts": []}]}])
def test_releases_that_say_little(broken: t.Any) -> None:
    fleet = sixteen()
    fleet.releases["spark01"] = broken
    assert Page(fleet.page())
