# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two halves ("twins") of a port of the ConnectX-7 of a Spark: whether hosts that serve together use both. Pure.

NCCL needs both for the whole bandwidth, and each needs an address of its own.
"""

from __future__ import annotations

import typing as t

Facts = t.Mapping[str, t.Any]
Faults = t.Iterator[dict[str, str]]

HCA = "NCCL_IB_HCA"


def faults(own: str, host: Facts, environment: Facts) -> Faults:
    """What costs bandwidth, with the remedy. OWN is the interface of vllm_node_address, HOST is of spark_info."""
    ports = host.get("connectx7") or []
    yield from _half_named(str(environment.get(HCA) or ""), ports)
    number = next((each["port"] for each in ports if each["name"] == own), None)
    has_address = {each["name"] for each in host.get("interfaces") or []}
    for twin in ports:
        if twin["port"] != number or twin["name"] == own:
            continue
        lacks = "no carrier" if not twin["carrier"] else "" if twin["name"] in has_address else "no IPv4 address"
        if lacks:
            yield {
                "what": f"{lacks} on {twin['name']}, the other half of {own} (port {number} of the ConnectX-7), so half"
                " of the bandwidth between the hosts of vllm_nodes is lost",
                "remedy": "Check the cable and run playbooks/fabric.yml, which gives both halves their addresses",
            }


def _half_named(value: str, ports: t.Sequence[Facts]) -> Faults:
    cabled = [each for each in ports if value and each["carrier"]]
    rails = {each["rail"] for each in cabled if each["device"] and is_used(value, each["device"])}
    if len(rails) > 1:  # maybe one half of each port: both paths to the processor are used
        return
    for number in sorted({each["port"] for each in cabled}):
        halves = [each["device"] for each in ports if each["port"] == number and each["device"]]
        used = [device for device in halves if is_used(value, device)]
        if used and len(used) < len(halves):
            yield {
                "what": f"{HCA}={value} in the environment of vLLM, which leaves out one half of port {number} of the"
                f" ConnectX-7 ({', '.join(sorted(set(halves) - set(used)))}) and half of the bandwidth",
                "remedy": f"Remove {HCA} from vllm_extra_env, or name {' and '.join(halves)}",
            }


def is_used(value: str, device: str) -> bool:
    """Whether NCCL_IB_HCA lets NCCL use a DEVICE: a list of beginnings, after = of whole names, after ^ all others."""
    excluded, names = value.startswith("^"), value.removeprefix("^")
    whole = names.startswith("=")
    listed = [name.partition(":")[0].strip() for name in names.removeprefix("=").split(",")]
    found = any(device == name if whole else device.startswith(name) for name in listed if name)
    return found is not excluded
