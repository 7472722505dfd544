# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the role vllm for its image. Each refusal says why, what to take instead, and which word overrules it."""

from __future__ import annotations

import re
import typing as t

from .._catalog.catalog import Catalog
from .._catalog.fields import Entry
from .._catalog.images import GUIDES, faults, find, met, moves, nearest_good, not_read, other_server, split_reference
from .._catalog.option_values import no_method
from .._common.addresses import reaches_others
from .._common.text import show
from .._common.types import TypedValues
from .._plan import exposure
from .._plan.choice import Choice, ChoiceError, choose_image, image_name, image_refusal

_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
# As Docker reads it. Whatever it says reaches Compose and command lines.
REFERENCE = re.compile(
    rf"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def image(
    checked: TypedValues, catalog: Catalog, own: t.Mapping[str, t.Any], model: Entry | None
) -> tuple[list[str], Entry | None]:
    """What is wrong with the image, and the image if it is known."""
    if not checked.valid("vllm_image", "vllm_images"):
        return [], None
    ref = image_name(checked, catalog, model)
    if not REFERENCE.fullmatch(ref):
        return [
            f"vllm_image: {show(ref)} is not a reference to an image; use a name in lower case and a tag or digest,"
            f" such as {GUIDES}"
        ], None
    images = catalog.images(own)
    allowed = set(checked["vllm_image_allow"] or [])
    if moves(ref) and "moving" not in allowed:
        return [_moving(ref, images, model)], None
    try:
        found = choose_image(checked, catalog, model)
    except ChoiceError as error:
        return [str(error)], None
    lines = []
    if found["status"] == "avoid" and "avoid" not in allowed:
        why = faults(found) or "the matrix says so"
        lines.append(
            f"vllm_image: {show(ref)} is known to be broken on a Spark ({why});"
            f" use {nearest_good(ref, images, model) or 'another image'}, or set vllm_image_allow: [avoid]"
        )
    refusal = image_refusal(checked, catalog, Choice(catalog.on(model, found), found, None)) if model else None
    if refusal:
        lines.append(refusal)
    if exposed := exposure.refusal(checked, catalog, found, model, {}):  # it is asked itself before it is started
        lines.append(exposed)
    return lines, found


def _moving(ref: str, images: t.Mapping[str, t.Any], model: Entry | None) -> str:
    tag = split_reference(ref)[2]
    entry = images.get(find(ref, images) or "") or {}
    what = f"moves: {tag} is another image tomorrow" if tag else "has no tag, which means latest"
    why = f" ({faults(entry)})" if entry.get("faults") else ""
    words = [
        "moving",
        *([] if find(ref, images) else ["unknown"]),
        *(["avoid"] if entry.get("status") == "avoid" else []),
    ]
    instead = nearest_good(ref, images, model) or GUIDES
    return (
        f"vllm_image: {show(ref)} {what}{why}; use a fixed tag such as {instead}, or a digest,"
        f" or set vllm_image_allow: [{', '.join(words)}]"
    )


def notices(ref: str, found: Entry, model: Entry | None, known: bool, settings: t.Mapping[str, t.Any]) -> list[str]:
    """What was allowed with vllm_image_allow, or by an entry of the user, and the faults that these settings meet.

    Not forbidden, but worth a warning.
    """
    lines = []
    if moves(ref):
        lines.append(f"vllm_image: {show(ref)} is another image tomorrow")
    if not known and (server := other_server(ref)):
        lines.append(f"vllm_image: the path of {show(ref)} names {server}; it must start `vllm serve` with the options")
    if not known:
        lines.append(f"vllm_image: {show(ref)} is not in the image matrix; whether it fits the model cannot be checked")
    if found["status"] == "avoid":
        why = faults(found) or "it is known to be broken on a Spark"
        lines.append(f"vllm_image: {show(ref)} is better avoided: {why}")
    else:
        lines += [f"vllm_image: {show(ref)} has a known fault: {fault}" for fault in met(found, settings)]
    address = settings["vllm_publish_address"]
    if found["security"] and reaches_others(address):
        lines.append(
            f"vllm_image: {show(ref)} is published on {address} with a security advisory:"
            f" {', '.join(found['security'])}"
        )
    wants_ray = settings.get("distributed_executor_backend") == "ray"
    if wants_ray and found["ray"] is False and not any("Ray" in line for line in lines):
        lines.append(
            f"vllm_image: {show(ref)} has no Ray, which distributed_executor_backend: ray needs; drop the option:"
            " vLLM's own way to span hosts needs none"
        )
    wanted, reason = settings.get("quantization"), (model or {}).get("image_cannot_run")
    if isinstance(wanted, str) and not reason and (unread := not_read(wanted, found)):
        lines.append(f"vllm_image: {show(ref)} may refuse quantization: {wanted}; {unread}")
    if unusual := no_method("quantization", wanted):  # refused already where the image is not the user's own
        lines.append(f"vllm_image: {show(ref)} must have this method of its own: {unusual}")
    if model and reason:
        lines.append(f"vllm_image: {show(ref)} is said not to run {model['name']}, {reason}")
    return lines
