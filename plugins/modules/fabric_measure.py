#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the links of a fabric."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_measure
short_description: Measure the links between Sparks
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - O(state=listening) starts a receiver for each check on the server, which ends after its measurement or after
    O(timeout) seconds.
  - O(state=measured) sends pings that must not be fragmented and fill the MTU, then measures the bandwidth for two
    seconds. With C(method) V(rdma) it uses C(ib_write_bw), and C(ib_write_lat) for the latency, with V(sockets) four
    TCP streams, which the CPU limits.
  - Nothing is written. A link that cannot be measured is a result, not a failure.
options:
  state:
    description: Which side of the measurement this host is.
    type: str
    choices: [listening, measured]
    required: true
  checks:
    description: Those of RV(dgxspark.vllm.fabric_plan#filter:_value) of which this host is the server or the client.
    type: list
    elements: dict
    required: true
  timeout:
    description: Seconds that a receiver waits for its measurement.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Can run in check mode. Nothing is measured.
  diff_mode:
    support: none
    description: There is no diff, because nothing changes.
  idempotent:
    support: full
    description: Changes nothing.
notes:
  - Requires root.
  - Check number 0 uses the TCP ports 18600 and, for the latency by RDMA, 18800, the others the following ports, on the
    addresses of the fabric only.
seealso:
  - plugin: dgxspark.vllm.fabric_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Listen for the other hosts
  dgxspark.vllm.fabric_measure:
    state: listening
    checks: "{{ plan.checks | selectattr('server.host', 'eq', inventory_hostname) }}"

- name: Measure one host after the other
  dgxspark.vllm.fabric_measure:
    state: measured
    checks: "{{ plan.checks | selectattr('client.host', 'eq', inventory_hostname) }}"
  throttle: 1
"""

RETURN = r"""
measured:
  description:
    - One for each check with O(state=measured), in their order.
    - C(sent) is the number of pings, C(large) that of answers to pings that fill the MTU, C(small) to others, which are
      sent after a loss only, C(rtt_ms) the median of the round trips.
    - C(gbps) is the bandwidth, V(null) with an C(error).
    - C(latency_us) is the median latency of RDMA in microseconds. V(null) with C(sockets), and with an C(error).
    - C(answered_by) is the MAC address to which packets for the server go.
  returned: success
  type: list
  elements: dict
  sample:
    - {number: 0, sent: 5, large: 5, small: 5, rtt_ms: 0.21, gbps: 92.6, latency_us: 2.05, error: "",
       answered_by: "4c:bb:47:00:00:02"}
"""

import functools
import os
import signal
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import link_speed
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, parse_json, sequence
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import text as string

PORT = 18600
LATENCY_PORT = 18800  # 64 hosts on a switch have 128 checks
PINGS = 5
SMALL = 84  # bytes of a ping that passes everywhere
TRIES = 5  # perftest of the other side may need a second to start
WRITES = 1000
Facts = dict[str, t.Any]


def perftest(module: AnsibleModule, name: str, check: Facts, end: str, limit: int) -> list[str]:
    """Both sides need the same options."""
    program, timeout = module.get_bin_path(name, required=True), module.get_bin_path("timeout", required=True)
    port, options = {
        "ib_write_bw": (PORT, ["-q", "4", "-D", str(int(link_speed.SECONDS)), "--report_gbits"]),
        "ib_write_lat": (LATENCY_PORT, ["-n", str(WRITES)]),
    }[name]
    common = ["-d", check[end]["device"], "-p", str(port + check["number"]), "-F"]
    return [timeout, "--kill-after=1", str(limit), program, *common, *options]


def detach(action: t.Callable[[], None], timeout: float) -> None:
    """Runs in a process of its own, which outlives the module and ends by itself."""
    if os.fork():
        return
    try:
        os.setsid()
        signal.alarm(int(timeout) + 5)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        action()
    finally:
        os._exit(0)


def start_listening(module: AnsibleModule, check: Facts) -> None:
    timeout = module.params["timeout"]
    if check["method"] == "rdma":
        for name in ("ib_write_bw", "ib_write_lat"):
            argv = perftest(module, name, check, "server", timeout)
            detach(functools.partial(os.execv, argv[0], argv), timeout)
        return
    server = link_speed.listen(check["server"]["address"], PORT + check["number"])
    detach(lambda: link_speed.receive(server, timeout), timeout)
    server.close()


def answered_by(module: AnsibleModule, check: Facts) -> str:
    command = module.get_bin_path("ip", required=True, opt_dirs=["/usr/sbin", "/sbin"])
    argv = [command, "-j", "neigh", "show", "to", check["server"]["address"], "dev", check["client"]["interface"]]
    entries = map(mapping, sequence(parse_json(module.run_command(argv)[1])))
    return next((plain(string(entry.get("lladdr"))).lower() for entry in entries), "")


def bandwidth(module: AnsibleModule, check: Facts) -> tuple[float | None, str]:
    """Gb/s, or why there are none."""
    if check["method"] == "rdma":
        return measured_by(module, "ib_write_bw", check, link_speed.parse_ib_write_bw)
    address = check["server"]["address"]
    try:
        return link_speed.send(check["client"]["address"], address, PORT + check["number"]), ""
    except (OSError, socket.timeout) as error:
        return None, f"TCP port {PORT + check['number']} of {address}: {error}"


def measured_by(
    module: AnsibleModule, name: str, check: Facts, parse: t.Callable[[str], float | None]
) -> tuple[float | None, str]:
    """What a program of perftest says, or why it says nothing."""
    argv = [*perftest(module, name, check, "client", 20), check["server"]["address"]]
    for _try in range(TRIES):
        _code, out, err = module.run_command(argv, environ_update={"LC_ALL": "C"})
        value = parse(out)
        if value is not None:
            return value, ""
        time.sleep(1)
    lines = plain(" ".join((err or out).split()))
    return None, f"{name}: {lines[-200:] or 'no result'}"


def measure(module: AnsibleModule, check: Facts) -> Facts:
    ends = check["client"]["address"], check["server"]["address"]
    large = link_speed.ping(*ends, check["mtu"], PINGS)
    small = large if large.received == PINGS else link_speed.ping(*ends, SMALL, PINGS)
    speed, error = bandwidth(module, check) if small.received else (None, "no answer to pings")
    latency = None
    if speed is not None and check["method"] == "rdma":
        latency, error = measured_by(module, "ib_write_lat", check, link_speed.parse_ib_write_lat)
    return {
        "number": check["number"],
        "sent": PINGS,
        "large": large.received,
        "small": small.received,
        "rtt_ms": small.rtt_ms,
        "gbps": round(speed, 1) if speed is not None else None,
        "latency_us": latency,
        "error": error,
        "answered_by": answered_by(module, check),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["listening", "measured"], "required": True},
            "checks": {"type": "list", "elements": "dict", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    results: list[Facts] = []
    try:
        for check in [] if module.check_mode else module.params["checks"]:
            if module.params["state"] == "listening":
                start_listening(module, check)
            else:
                results.append(measure(module, check))
    except PermissionError as error:
        module.fail_json(msg=f"{error.strerror}{os_problem.remedy(error)}")
    except OSError as error:
        address = check["server" if module.params["state"] == "listening" else "client"]["address"]
        module.fail_json(msg=f"check {check['number']} at {address}: {error.strerror}")
    module.exit_json(changed=False, measured=results)


if __name__ == "__main__":
    main()
