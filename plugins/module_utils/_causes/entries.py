# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of the tables of causes."""

from __future__ import annotations

from typing import NamedTuple

# The entries of the deployment guide's section on troubleshooting, as it calls them.
MEMORY = "Container Fails with Memory Errors"
FP8 = "FP8 Quantization Fails"
DOWNLOAD = "Model Download Incomplete"
CAPABILITY = '"Compute Capability 12.1" Warning'
THROUGHPUT = "Lower Than Expected Throughput"


class Signature(NamedTuple):
    """A cause that shows in a line of a log, or in the text of an exception.

    kind:
      fatal    the line alone ends the start: no need to wait for the process to exit
      exit     explains why the process exited, but the line alone may be retried or survived
      hint     explains why nothing moves; never a failure by itself
      retry    a hint while the start continues, and the cause if it ended and nothing more specific was logged
      wait     a hint that is only shown when nothing has moved for long
      wrapper  says that something failed; the cause is in another line, so it counts only when nothing else was found
    """

    id: str
    kind: str
    family: str
    literals: tuple[str, ...]  # lower case; a text without any of them is not examined further
    pattern: str  # case does not matter
    meaning: str  # may name the groups of the pattern, and {suggested}
    remedy: str
    versions: str  # which program wrote it, and the versions and images that it was seen with
    known: str  # seen: in our own runs; source: read in its source; report: published by others
    source: str = ""  # where it was published
    guide: str = ""  # entry of the guide's section on troubleshooting that this belongs to
    frames: str = ""  # the exception was raised below such a frame ("path:function: source" per line)
    unless: str = ""  # not where the text or the frames match this
    generic: bool = False  # counts only where no other signature matches the same text
    refines: tuple[
        str, ...
    ] = ()  # a line outside of any exception that explains exceptions of these causes or families
    retry: bool = False  # a passing fault: the same call may succeed at once
    sets: tuple[tuple[str, str, str], ...] = ()  # variable, option, value: what the catalog would set to keep the model


class Condition(NamedTuple):
    """A cause that shows in what is around the server, not in its log."""

    id: str
    meaning: str
    remedy: str
    guide: str = ""
    family: str = "service"


class Harmless(NamedTuple):
    """Lines that look like a failure and are none."""

    id: str
    literals: tuple[str, ...]  # lower case
    meaning: str
    guide: str = ""


class Family(NamedTuple):
    """Where an exception belongs that no signature knows. The texts may name {exception} and {where}."""

    id: str
    family: str
    meaning: str
    remedy: str


class Feature(NamedTuple):
    """A part of vLLM that can be switched off, known by the frames below which an exception was raised."""

    name: str
    frames: str
    advice: str  # the switch; it keeps image and model
    says: str = ""  # or the text of an exception that no signature knows names it
    inner: bool = False  # only one of the last frames tells: this part is always on the way
    optional: bool = False  # the model serves the same without it, so it is said for known causes too
    when: str = ""  # "start" or "serve"; empty: both
    used: str = ""  # how the log of a start shows that this part is switched on; its options are told first then


class Rule(NamedTuple):
    """One way to tell the family of an exception. Every pattern that is given must match; case matters not."""

    family: str  # id of a Family
    name: str = ""  # class of the exception, with its module
    text: str = ""
    frames: str = ""  # any frame ("path:function: source" per line)
    inner: str = ""  # one of the last frames
