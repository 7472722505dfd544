# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that only the hosts of a group may reach: the one where vLLM's ranks meet, or all that Ray has.

Both listen on all interfaces. Ray runs what it is sent; vLLM asks no one who they are.

The rules are in a chain of their own and live as long as the service runs. The caller's RUN executes a command and
returns exit status, output and errors.
"""

from __future__ import annotations

import typing as t

from .._outside.values import sequence, whole

Command = tuple[str, ...]
Run = t.Callable[..., tuple[int, str, str]]

# Of Ray's client, where it is installed: its port cannot be said without it.
CLIENT = 10001
# Of both families: who listens on all addresses listens on those of IPv6, too.
_PROGRAMS = ("iptables", "ip6tables")


class Ports(t.NamedTuple):
    first: int
    last: int

    @property
    def chain(self) -> str:
        return f"DGXSPARK-{self.first}"

    @property
    def are_rays(self) -> bool:
        """Several are Ray's, on all hosts; the one of vLLM is on the head."""
        return self.last > self.first

    @property
    def listed(self) -> str:
        return f"{self.first}:{self.last},{CLIENT}" if self.are_rays else str(self.first)

    def jump(self, program: str, order: str) -> Command:
        """ORDER is -C to look for the jump into the chain, -I to insert it, -D to delete it."""
        ports = ("-p", "tcp", "-m", "multiport", "--dports", self.listed)
        return (program, "-w", order, "INPUT", *ports, "-j", self.chain)


def ports_of(parameters: t.Mapping[str, t.Any]) -> Ports | None:
    """Those that a release.json names; None for a service that has none."""
    found = [whole(port) for port in sequence(parameters.get("closed_ports"))]
    first, last = found if len(found) == 2 else (None, None)
    return Ports(first, last) if first and last and first <= last <= 65535 else None


def chain_rules(ports: Ports, sources: t.Iterable[str], program: str) -> list[Command]:
    """What fills the chain, which is there and empty: SOURCES are IPv4 addresses."""
    append = (program, "-w", "-A", ports.chain)
    known = sources if program == "iptables" else ()
    allowed = [("-i", "lo"), *(("-s", source) for source in known)]
    return [*((*append, *who, "-j", "RETURN") for who in allowed), (*append, "-j", "DROP")]


def close(ports: Ports, sources: t.Sequence[str], run: Run, has_ipv6: bool = True) -> str:
    """Closes them for all but SOURCES; returns why that failed, empty if it did not.

    The jump comes last: the chain is never used half full.
    """
    for program in _PROGRAMS if has_ipv6 else _PROGRAMS[:1]:
        run(program, "-w", "-N", ports.chain)  # it may be there
        commands = [(program, "-w", "-F", ports.chain), *chain_rules(ports, sources, program)]
        if run(*ports.jump(program, "-C"))[0]:
            commands.append(ports.jump(program, "-I"))
        for command in commands:
            code, _out, error = run(*command)
            if code:
                return f"{' '.join(command)}: {' '.join(error.split())}"
    return ""


def reopen(ports: Ports, run: Run) -> None:
    """Takes the rules away, as far as they are there."""
    for program in _PROGRAMS:
        for command in (
            ports.jump(program, "-D"),
            (program, "-w", "-F", ports.chain),
            (program, "-w", "-X", ports.chain),
        ):
            run(*command)
