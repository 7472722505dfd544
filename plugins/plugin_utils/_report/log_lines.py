# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of several hosts as one, in the order of time. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, sequence

Read = t.Mapping[str, t.Any]


def merged(hosts: t.Mapping[str, Read | None]) -> list[dict[str, str]]:
    """HOSTS are results of vllm_log_lines_info. Lines of one second stay in the order of their hosts."""
    lines = [
        {"host": host, "time": plain(str(line.get("time"))), "text": plain(str(line.get("text")))}
        for host, read in hosts.items()
        for line in map(mapping, sequence((read or {}).get("lines")))
    ]
    return sorted(lines, key=lambda line: line["time"])


def text(hosts: t.Mapping[str, Read | None], problems: t.Mapping[str, str]) -> str:
    """What is printed: the lines, then one line for each host that has none."""
    width = max((len(host) for host in hosts), default=0)
    shown = [f"{line['host']:<{width}}  {line['time']}  {line['text']}" for line in merged(hosts)]
    for host, read in hosts.items():
        if problems.get(host):
            shown.append(f"{host:<{width}}  not read: {plain(problems[host])}")
        elif not mapping(read).get("container"):
            shown.append(f"{host:<{width}}  has no container of this service")
        elif not mapping(read).get("lines"):
            shown.append(f"{host:<{width}}  has no such line")
    return "\n".join(shown)
