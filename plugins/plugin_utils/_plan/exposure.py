# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an image may be published beyond loopback: by the security advisories of its vLLM. Pure."""

from __future__ import annotations

import typing as t

from .._catalog.advisories import advisories_of, is_known, told
from .._catalog.catalog import Catalog
from .._catalog.fields import Entry
from .._catalog.images import nearest_good
from .._common.addresses import reaches_others
from .._common.text import show
from .choice import Values


def refusal(
    values: Values, catalog: Catalog, image: Entry, model: Entry | None, probed: t.Mapping[str, t.Any]
) -> str | None:
    """Why not, in one line. PROBED is what the image said of itself; empty as long as it was not asked.

    Its own version counts more than that of the matrix, if it says one, and an entry of the owner that lists advisories
    more than both.
    """
    address = values["vllm_publish_address"]
    if not reaches_others(address) or "advisory" in (values["vllm_image_allow"] or []):
        return None
    images = catalog.images(values["vllm_images"])
    names, version, how = image["security"], image["vllm"], ""
    if probed and (images.get(image["key"]) or {}).get("security") is None:
        own = (probed.get("probe") or {}).get("vllm")
        if is_known(own) or not version:
            version, how = own, " (it was asked itself)"
        names = advisories_of(version, catalog.advisories())
        if not is_known(version):
            return (
                f"vllm_image: {show(image['ref'])} would be published on {address}, and does not say the version of its"
                f" vLLM{f' ({show(version)})' if version else ''}, which decides on its security advisories; use"
                f" {_instead(catalog, images, image, model)}, or vllm_publish_address: 127.0.0.1, or, if it has none,"
                f" set vllm_images: {{{show(image['key'])}: {{security: []}}}}, or set vllm_image_allow: [advisory]"
            )
    if not names:
        return None
    return (
        f"vllm_image: {show(image['ref'])} has a security advisory ({told(names, catalog.advisories())}){how} and would"
        f" be published on {address}; use {_instead(catalog, images, image, model)}, or vllm_publish_address:"
        " 127.0.0.1, or set vllm_image_allow: [advisory]"
    )


def _instead(catalog: Catalog, images: t.Mapping[str, t.Any], image: Entry, model: Entry | None) -> str:
    without = {ref: entry for ref, entry in images.items() if _has_none(ref, catalog, images)}
    return nearest_good(image["ref"], without, model) or "an image with a newer vLLM"


def _has_none(ref: str, catalog: Catalog, images: t.Mapping[str, t.Any]) -> bool:
    entry = catalog.image(ref, images)
    return bool(entry["vllm"]) and not entry["security"]
