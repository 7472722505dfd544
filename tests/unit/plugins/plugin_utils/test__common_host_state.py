# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs in any respect is told; what was not read counts as different."""

from __future__ import annotations

import copy
import hashlib
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_state import differences

TEXT = "a=1\nb=x y\n"
FILE = {
    "type": "file",
    "owner": "root",
    "group": "staff",
    "uid": 0,
    "gid": 50,
    "mode": "0644",
    "content": TEXT,
    "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
}
SPARK: dict[str, t.Any] = {
    "files": {"/f": FILE, "/d": {**FILE, "type": "directory", "mode": "2775", "content": None, "sha256": None}},
    "sysctl": {"vm.swappiness": "10", "net.ipv4.tcp_rmem": "4096 131072 6291456", "no.such": None},
    "units": {
        "u.service": {
            "load_state": "loaded",
            "active_state": "active",
            "unit_file_state": "enabled",
            "needs_reload": False,
        }
    },
    "packages": {"earlyoom": "1.8-2", "docker.io": None},
    "commands": {"rsync": "/usr/bin/rsync", "setfacl": None},
}
AS_IT_IS: dict[str, t.Any] = {
    "packages": ["earlyoom"],
    "commands": ["rsync"],
    "files": {
        "/f": {"owner": "root", "group": "staff", "mode": "0644", "content": TEXT, "settings": {"a": 1, "b": "x y"}},
        "/d": {"type": "directory", "owner": "0", "group": 50, "mode": "2775"},
    },
    "sysctl": {"vm.swappiness": 10, "net.ipv4.tcp_rmem": "4096\t131072  6291456"},
    "units": {"u.service": {"active": True, "enabled": True}},
}


def test_a_host_that_is_as_wanted() -> None:
    assert differences(SPARK, AS_IT_IS) == []
    assert differences(SPARK, {}) == []


def test_nothing_was_read() -> None:
    lines = differences({}, AS_IT_IS)
    assert len(lines) == 7  # one of each: package, command, two files, two parameters, unit
    assert "/f was not read" in lines


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"packages": ["docker.io"]}, "docker.io is not installed"),
        ({"packages": ["other"]}, "other is not installed"),
        ({"commands": ["setfacl"]}, "setfacl is not installed"),
        ({"files": {"/f": {"owner": "dgx"}}}, "/f: owner is root, not dgx"),
        ({"files": {"/f": {"owner": "1000"}}}, "/f: owner is root, not 1000"),
        ({"files": {"/f": {"group": "root"}}}, "/f: group is staff, not root"),
        ({"files": {"/f": {"mode": "0600"}}}, "/f: mode is 0644, not 0600"),
        ({"files": {"/f": {"mode": "u=rw,go=r"}}}, "/f: mode is 0644, not u=rw,go=r"),
        ({"files": {"/f": {"content": TEXT + "\n"}}}, "/f: content differs"),
        ({"files": {"/f": {"settings": {"a": "2"}}}}, "/f: a is not set by the line a=2"),
        ({"files": {"/f": {"settings": {"c": "1"}}}}, "/f: c is not set by the line c=1"),
        ({"files": {"/f": {"type": "directory"}}}, "/f: type is file, not directory"),
        ({"files": {"/d": {"type": "directory", "mode": "0775"}}}, "/d: mode is 2775, not 0775"),
        ({"files": {"/d": {"type": "directory", "content": ""}}}, "/d: content differs"),
        ({"files": {"/g": {"type": "absent"}}}, "/g was not read"),
        ({"sysctl": {"vm.swappiness": 60}}, "vm.swappiness is 10, not 60"),
        ({"sysctl": {"vm.swappiness": True}}, "vm.swappiness is 10, not 1"),
        ({"sysctl": {"no.such": ""}}, "no.such was not read"),
        ({"sysctl": {"not.asked": "1"}}, "not.asked was not read"),
        ({"units": {"u.service": {"active": False}}}, "u.service is active, not inactive"),
        ({"units": {"u.service": {"enabled": False}}}, "u.service is enabled, not disabled"),
        ({"units": {"v.service": {"active": True}}}, "v.service was not read"),
    ],
)
def test_each_difference(wanted: dict[str, t.Any], said: str) -> None:
    assert differences(SPARK, wanted)[0] == said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"load_state": "masked"}, "u.service is masked, not loaded"),
        ({"needs_reload": True}, "u.service was changed since systemd loaded it"),
        ({"active_state": "activating"}, "u.service is activating, not active"),
        ({"unit_file_state": "enabled-runtime"}, "u.service is enabled-runtime, not enabled"),
    ],
)
def test_a_unit_has_to_be_exactly_so(state: dict[str, t.Any], said: str) -> None:
    spark = copy.deepcopy(SPARK)
    spark["units"]["u.service"].update(state)
    assert differences(spark, AS_IT_IS) == [said]


@pytest.mark.parametrize(
    "content",
    [
        "a=1\na=2\n",  # the last line counts
        "a = 1\n",
        " a=1\n",
        "a=1 \n",
        "#a=1\n",
        "a=1\r\n",
        "a\n",
        "",
        None,  # not for every user to read, too large, or binary
    ],
)
def test_a_setting_has_to_be_the_very_line(content: str | None) -> None:
    spark = {"files": {"/f": {**FILE, "content": content}}}
    assert differences(spark, {"files": {"/f": {"settings": {"a": "1"}}}}) == ["/f: a is not set by the line a=1"]


@pytest.mark.parametrize("content", ["a=1\n", "a=1", "a=2\na=1\nb=2\n", "# a=2\n\na=1\n"])
def test_lines_of_others_do_not_matter(content: str) -> None:
    spark = {"files": {"/f": {**FILE, "content": content}}}
    assert differences(spark, {"files": {"/f": {"settings": {"a": "1"}}}}) == []


@pytest.mark.parametrize(
    "wanted",
    [{"file": {}}, {"files": {"/f": {"ownr": "root"}}}, {"units": {"u.service": {"state": "started"}}}],
)
def test_what_cannot_be_compared_is_an_error(wanted: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError, match="cannot be compared; use "):
        differences(SPARK, wanted)
