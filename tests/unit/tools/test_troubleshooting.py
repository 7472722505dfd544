# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import signatures
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import condition
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import notes
from ansible_collections.dgxspark.vllm.tools import troubleshooting

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = [
    *signatures.SIGNATURES,
    *signatures.CONDITIONS,
    *signatures.HARMLESS,
    *signatures.FAMILIES,
    *notes.NOTES,
    *notes.UNSEEN,
    *notes.STORED,
]


def test_the_page_is_what_the_tables_say() -> None:
    assert troubleshooting.page() == PAGE, "run `make docs`"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_cause_has_its_place_once(entry: object) -> None:
    assert len(re.findall(rf"^### {entry.id}$", PAGE, re.MULTILINE)) == 1  # type: ignore[attr-defined]


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
    assert condition("killed").link == "docs/troubleshooting.md#killed"


@pytest.mark.parametrize("title", ["MEMORY", "FP8", "DOWNLOAD", "CAPABILITY", "THROUGHPUT"])
def test_every_entry_of_the_guide_is_covered(title: str) -> None:
    row = re.search(rf"^\| {re.escape(getattr(signatures, title))} \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert row
    assert re.match(r"\[\w+\]\(#\w+\)", row[1])


@pytest.mark.parametrize(
    "entry", [*signatures.SIGNATURES, *signatures.CONDITIONS, *signatures.FAMILIES], ids=lambda entry: entry.id
)
def test_remedies_name_variables_that_there_are(entry: signatures.Signature) -> None:
    defaults = "\n".join(path.read_text() for path in ROOT.glob("roles/*/defaults/main.yml"))
    for name in re.findall(r"\b(?:vllm|hf_cache|container_runtime|spark_host)_\w+", entry.remedy):
        assert re.search(rf"^{name}:", defaults, re.MULTILINE), name


def test_the_page_begins_with_symptoms() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert headings[0] == "By symptom"
    named = {cause for _seen, _where, causes in troubleshooting.SYMPTOMS for cause in causes}
    assert named <= {entry.id for entry in ENTRIES}


def test_the_families_of_the_module_are_documented() -> None:
    module = (ROOT / "plugins" / "modules" / "vllm_log_info.py").read_text()
    entries = (*signatures.SIGNATURES, *signatures.CONDITIONS, *signatures.FAMILIES)
    for family in {entry.family for entry in entries}:
        assert f"C({family})" in module, family


def test_check_finds_a_page_that_is_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubleshooting, "page", lambda: "new\n")
    page = tmp_path / "docs" / "troubleshooting.md"
    page.parent.mkdir()
    page.write_text("old\n")
    monkeypatch.setattr(troubleshooting, "PAGE", page)
    monkeypatch.setattr(troubleshooting, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["troubleshooting.py", "--check"])
    assert troubleshooting.main() == 1
    assert page.read_text() == "old\n"
    monkeypatch.setattr("sys.argv", ["troubleshooting.py"])
    assert troubleshooting.main() == 0
    assert page.read_text() == "new\n"
