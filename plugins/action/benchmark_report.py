# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares, shows and stores measurements, on the controller. See plugins/modules/benchmark_report.py."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark import plot, record, store, table
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.output_file import write
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen

display = Display()

Facts = dict[str, t.Any]


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Facts | None = None) -> Facts:
        result: Facts = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "hosts": {"type": "list", "elements": "str", "required": True},
                "results": {"type": "dict", "required": True},
                "spark": {"type": "dict", "default": {}},
                "models": {"type": "dict", "default": {}},
                "mode": {"type": "str", "required": True},
                "folder": {"type": "str", "required": True},
                "claims": {"type": "dict", "default": {}},
                "export": {"type": "bool", "default": False},
            }
        )
        args = plain(args)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        blocks: list[str] = []
        failed: Facts = {}
        records: list[Facts] = []
        files: list[str] = []
        for host in args["hosts"]:
            found = args["results"].get(host) or {}
            if self._task.check_mode and found.get("server"):
                blocks.append(f"{host} | check mode: it serves, and these cells would be measured: {_planned(found)}")
                continue
            if not found.get("runs"):
                failed[host] = _why_not(found)
                blocks.append(f"{host} | not measured: {failed[host]}")
                continue
            entry = _entry((found.get("server") or {}).get("model"), args["models"].get(host))
            made = record.build(host, args["mode"], moment, found, args["spark"].get(host) or {}, entry)
            folder = store.place(args["folder"], host)
            before, lines = store.earlier(folder)
            made["comparison"] = record.judge(made, before)
            records.append(made)
            claims = args["claims"].get(made["server"].get("model")) or []
            blocks.append(table.render(made, claims, terminal.width(), wraps=terminal.size() is not None))
            blocks += lines
            try:
                files += self._store(folder, made, claims, blocks)
            except OSError as error:
                result.update(failed=True, msg=f"benchmark_folder: {folder}: {error.strerror or error}")
                self._show(blocks)
                return result
            if args["export"]:
                blocks.append(_export(made))
            why = _failure(made)
            if why:
                failed[host] = why
        self._show([*blocks, *(["written: " + ", ".join(files)] if files else [])])
        text = "\n\n".join(blocks)
        # No change: each run measures anew, and nothing on a host is another one.
        result.update(changed=False, table=text, records=records, files=files, unhealthy=failed)
        return result

    def _store(self, folder: Path, made: Facts, claims: list[Facts], blocks: list[str]) -> list[str]:
        """The files that were written; none in check mode."""
        if self._task.check_mode:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{store.name_of(made)}.json"
        write(str(path), json.dumps(made, indent=2, ensure_ascii=False) + "\n")
        files = [str(path)]
        try:
            drawing = plot.draw(made, claims)
        except plot.MissingLibrary as missing:
            blocks += [str(missing)] if str(missing) not in blocks else []
            return files
        write(str(path.with_suffix(".svg")), drawing)
        return [*files, str(path.with_suffix(".svg"))]

    def _show(self, blocks: list[str]) -> None:
        if blocks and not self._task.no_log and is_wanted_on_screen():
            display.display("\n" + "\n\n".join(blocks) + "\n")


def _entry(model: t.Any, own: t.Any) -> Facts:
    """What the catalog says of the model that was measured, which need not be the one that the inventory wants."""
    try:
        return dict(Catalog().model(str(model), own or {}))
    except CatalogError:
        return {}


def _planned(found: Facts) -> str:
    skipped = [f"{name} is skipped: it {why}" for name, why in found["too_long"].items()]
    return "; ".join([", ".join(found["not_run"]) or "none", *skipped])


def _why_not(found: Facts) -> str:
    if found.get("too_long") and not found.get("reason"):
        return "; ".join(f"{name} {why}" for name, why in found["too_long"].items())
    return " ".join(str(found.get("msg") or found.get("reason") or "nothing is known").split())


def _failure(made: Facts) -> str | None:
    """Why the run of a host is no success, in one line."""
    worse = made["comparison"]["regressions"]
    if worse:
        return f"slower than before, beyond noise: {', '.join(worse)}"
    return None if made["complete"] else f"not complete: {made['reason']}"


def _export(made: Facts) -> str:
    entry = table.catalog_entry(made)
    if entry is None:
        return f"{made['host']} | nothing to export: no cell with one request at a time has a result"
    return f"# {made['host']}: for the entry of {made['server'].get('model')} in vllm_models or catalog/models\n{entry}"
