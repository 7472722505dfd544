# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily clean on the host: what is dead goes, what is alive stays, and `false` takes it off again."""

from __future__ import annotations

from typing import Any

from support.playbook import AnsiblePlaybook
from support.sandbox import Spark

from .caches import CACHE, TARGET

BLOBS = f"{CACHE}/models--org--name/blobs"
TIMER = "dgxspark-hf-clean.timer"


def test_the_timer_cleans_by_the_same_rules(
    hosts: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook, tmp_path: Any
) -> None:
    _source, target = hosts
    play = tmp_path / "cache.yml"
    play.write_text("[{hosts: spark, gather_facts: false, become: true, roles: [dgxspark.vllm.hf_cache]}]")
    cache = {"hf_cache_path": CACHE, "hf_cache_clean_daily": True}
    run = ansible_playbook(str(play), f"--limit={TARGET}", **cache)
    assert run.code == 0, run.output
    dead, live = (f"{BLOBS}/{digit * 64}.incomplete" for digit in "12")
    with target.sudo():
        assert target.check_output("systemctl is-enabled %s", TIMER) == "enabled"
        assert target.check_output("systemctl is-active %s", TIMER) == "active"
        target.check_output("mkdir -p %s && printf x >%s && printf x >%s", BLOBS, dead, live)
        # Type=exec: it has the file open when systemd-run is done
        holder = "--unit=journey-holder --property=Type=exec --property=StandardInput=file:%s"
        target.check_output(f"systemd-run --quiet --collect {holder} sleep 600", live)
        target.check_output("systemctl start dgxspark-hf-clean.service")
        target.check_output("systemctl stop journey-holder")
        assert (target.file(dead).exists, target.file(live).exists) == (False, True)
        target.check_output("journalctl --sync")
        assert "a process has it open" in target.check_output(
            "journalctl --unit=dgxspark-hf-clean --output=cat --lines=20"
        )
    assert ansible_playbook(str(play), f"--limit={TARGET}", **cache).count(TARGET, "changed") == 0

    off = ansible_playbook(str(play), f"--limit={TARGET}", hf_cache_path=CACHE)
    assert off.code == 0, off.output
    with target.sudo():
        assert target.run("systemctl cat %s", TIMER).rc != 0
        assert target.check_output("ls -d /usr/local/lib/dgxspark/dgxspark-hf-clean 2>/dev/null || true") == ""
        assert target.check_output("systemctl list-timers --all --no-legend %s", TIMER) == ""
