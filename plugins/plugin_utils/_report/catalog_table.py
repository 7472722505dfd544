# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as a table, on a terminal and in docs/models.md. Pure. Every figure keeps the mark of its source."""

from __future__ import annotations

import typing as t

from .._common.table import line, shorten

Entry = t.Mapping[str, t.Any]

MARKS = (
    "M measured, S stated, C computed, W weak; nothing of it was measured with this collection. tokens/s above the"
    ' limit in "at most" were measured with speculative decoding (drafts), which the limit leaves out'
)
ABOUT = ("model", "Hugging Face id", "weights", "context", "tokens/s", "at most", "license")
PLANNED = ("fits?", "KV tokens", "longest", "at once")
IMAGE = "image"
_RIGHT = {"weights", "tokens/s", "at most", "KV tokens", "longest", "at once"}
_WIDEST = {"Hugging Face id": 35, "license": 14}  # on a terminal; README.md has them in full

# What a narrow terminal does without, the first one first. The id of a model is in docs/models.md.
_DROPPED = ("license", IMAGE, "at most", "Hugging Face id", "longest", "KV tokens")


def about(entry: Entry) -> list[str]:
    """What is known of a model, a cell for each of ABOUT."""
    return [
        str(entry["name"]),
        str(entry["id"]),
        _marked(entry, "weights_bytes", f"{entry['weights_bytes'] / 1e9:.4g} GB"),
        _context(entry),
        _marked(entry, "tokens_per_second", f"{entry['tokens_per_second']:g}")
        if entry.get("tokens_per_second")
        else "-",
        f"{entry['roofline']:.3g} C" if entry.get("roofline") else "-",
        ("gated, " if entry.get("gated") else "") + str(entry.get("license") or "-"),
    ]


def planned(entry: Entry, plan: t.Mapping[str, t.Any] | None) -> list[str]:
    """What the host can do with it, a cell for each of PLANNED; and what only another image can."""
    no = "no, image" if entry.get("image_cannot_run") else "no"
    if not plan:
        return [no if entry.get("image_cannot_run") else "-", *["-"] * (len(PLANNED) - 1)]
    return [
        "yes" if plan["fits"] and no == "no" else no,
        f"{plan['kv_tokens']:,}",
        tokens(plan["max_context"]),
        f"{plan['sequences']:.1f}" if plan["fits"] else "-",
    ]


def terminal(
    entries: t.Sequence[Entry],
    plans: t.Mapping[str, t.Any],
    images: t.Mapping[str, t.Any] | None = None,
    width: int | None = None,
) -> str:
    """PLANS and IMAGES are by name of the model; without IMAGES the column is left out. No WIDTH: any."""
    head = [*ABOUT, *PLANNED, *([IMAGE] if images else [])]
    # the license last: it is the longest, and the least urgent
    order = [*(title for title in head if title != "license"), "license"]
    rows = [
        dict(
            zip(
                head,
                [*about(entry), *planned(entry, plans.get(entry["name"])), *_image(entry, images)],
                strict=True,
            )
        )
        for entry in entries
    ]
    for row in rows:
        row.update({title: shorten(row[title], widest) for title, widest in _WIDEST.items()})
    widths = {title: max(len(title), *(len(row[title]) for row in rows)) if rows else len(title) for title in order}
    for title in _DROPPED:
        if width is None or sum(widths[title] for title in order) + 2 * (len(order) - 1) <= width:
            break
        order = [kept for kept in order if kept != title]
    lines = [{title: title for title in order}, *rows]
    right = [title in _RIGHT for title in order]
    wide = [widths[title] for title in order]
    return "\n".join(line([cells[title] for title in order], wide, right) for cells in lines)


def _image(entry: Entry, images: t.Mapping[str, t.Any] | None) -> list[str]:
    return [str(images.get(entry["name"]) or "-")] if images else []


def tokens(number: int) -> str:
    """131072 -> 128K; what is not round is written out."""
    return f"{number // 1024}K" if number and number % 1024 == 0 else f"{number:,}"


def _context(entry: Entry) -> str:
    text = tokens(entry["native_context"])
    extended = entry.get("extended_context")
    return f"{text} ({tokens(extended)})" if extended else text


def _marked(entry: Entry, field: str, text: str) -> str:
    mark = str((entry.get("sources") or {}).get(field, "?"))[0]
    return f"{text} {mark}"
