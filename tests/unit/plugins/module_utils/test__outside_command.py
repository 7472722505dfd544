# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program prints is read as it is, and nothing is raised."""

from __future__ import annotations

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.command import run


def test_exit_code_output_and_complaints() -> None:
    assert run(["sh", "-c", "cat; printf 'a\\377'; echo $WORD >&2; exit 3"], WORD="b") == (3, "a\udcff", "b\n")


def test_a_program_that_is_killed_or_is_not_there() -> None:
    assert run(["sh", "-c", "kill -9 $$"]) == (-9, "", "")
    code, out, err = run(["no-such-program-anywhere"])
    assert (code, out) == (127, "")
    assert "no-such-program-anywhere" in err
