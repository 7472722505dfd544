#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_source
short_description: Add a package repository with its key to apt, beside those of the owner
version_added: "0.1.0"
description:
  - Writes C(/etc/apt/sources.list.d/dgxspark-NAME.sources) and C(/etc/apt/keyrings/dgxspark-NAME.asc).
  - Nothing is changed if another file of C(/etc/apt) names the same address. A file without the first line that this
    module writes is neither replaced nor removed.
  - The key is written only if its fingerprint is O(fingerprint).
options:
  name:
    description: Name of the repository.
    type: str
    required: true
  state:
    description: V(absent) removes both files.
    type: str
    choices: [present, absent]
    default: present
  uri:
    description: Address of the repository. Required with O(state=present).
    type: str
  suite:
    description: Suite, or the path of a flat repository. Required with O(state=present).
    type: str
  components:
    description: Components. Empty for a flat repository.
    type: list
    elements: str
    default: []
  key_url:
    description: Address of the key in ASCII. Required with O(state=present).
    type: str
  fingerprint:
    description: Fingerprint of the one key that is accepted, 40 hexadecimal digits. Empty accepts any key.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Can run in check mode. The key is downloaded and checked.
  diff_mode:
    support: full
    description: Shows the source.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Requires root. Does not update the package lists.
author:
  - The dgxspark.vllm authors (@dgxspark)
"""

EXAMPLES = r"""
- name: Add Docker's repository
  dgxspark.vllm.apt_source:
    name: docker
    uri: https://download.docker.com/linux/ubuntu
    suite: noble
    components: [stable]
    key_url: https://download.docker.com/linux/ubuntu/gpg
    fingerprint: 9DC858229FC7DD38854AE2D88D81803C0EBFCD88
  become: true
"""

RETURN = r"""
owner_source:
  description: The file of the owner that names the same address. V(null) if there is none.
  returned: with O(state=present)
  type: str
  sample: /etc/apt/sources.list.d/docker.sources
"""

import os
import tempfile
import threading
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import get_user_agent, open_url
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import openpgp
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain

APT = "/etc/apt"
MARKER = "# Written by dgxspark.vllm"
MAX_KEY_BYTES = 1024 * 1024
SECONDS = 30  # for a key of some kilobytes


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def names(text: str, address: str) -> bool:
    return any(address in line.partition("#")[0] for line in text.splitlines())


def owner_source(address: str, mine: str) -> str | None:
    """apt fails if two sources of one address name different keys."""
    for folder, _folders, files in sorted(os.walk(APT)):
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith((".list", ".sources")) and path != mine and names(read(path) or "", address):
                return path
    return None


class Source:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.asked = module.params
        self.path = f"{APT}/sources.list.d/dgxspark-{self.asked['name']}.sources"
        self.key = f"{APT}/keyrings/dgxspark-{self.asked['name']}.asc"
        self.before = read(self.path)
        self.ours = self.before is not None and self.before.startswith(MARKER)

    def text(self) -> str:
        components = self.asked["components"]
        return (
            f"{MARKER}\nTypes: deb\nURIs: {self.asked['uri']}\nSuites: {self.asked['suite']}\n"
            + (f"Components: {' '.join(components)}\n" if components else "")
            + f"Signed-By: {self.key}\n"
        )

    def fetch(self, url: str) -> tuple[str, str]:
        """Its text, or what is wrong. The timeout of open_url begins anew with each byte that comes."""
        found: list[tuple[str, str]] = []

        def ask() -> None:
            try:
                # not fetch_url, which ends the module in this thread, and not in the other one
                answer = open_url(url, timeout=SECONDS, http_agent=get_user_agent())
                found.append((answer.read(MAX_KEY_BYTES).decode("utf-8", "replace"), ""))
            except Exception as error:  # such as of a server that ends in the middle
                found.append(("", plain(str(error)) or type(error).__name__))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(SECONDS)
        return found[0] if found else ("", f"it did not come whole within {SECONDS} s")

    def download(self) -> str:
        url, wanted = self.asked["key_url"], "".join(self.asked["fingerprint"].split()).upper()
        text, problem = self.fetch(url)
        if problem:
            self.module.fail_json(msg=f"the key {url} cannot be downloaded: {problem}")
        try:
            keys = openpgp.parse(text)
        except ValueError as error:
            self.module.fail_json(msg=f"{url} is not a key: {error}")
        if wanted and set(keys.fingerprints) != {wanted}:
            found = ", ".join(keys.fingerprints)
            self.module.fail_json(msg=f"the key of {url} has the fingerprint {found}, not {wanted}; it was not written")
        return keys.text

    def write(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.module.tmpdir)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        self.module.atomic_move(temporary, path)
        os.chmod(path, 0o644)

    def present(self) -> dict[str, t.Any]:
        if owner := owner_source(self.asked["uri"].split("$")[0], self.path):
            return {"changed": False, "owner_source": owner}
        if self.before is not None and not self.ours:
            self.module.fail_json(msg=f"{self.path} was not written by this collection; remove or rename it")
        key = self.download()
        wanted = {self.key: key, self.path: self.text()}  # the key first: apt reads the source
        changes = {path: text for path, text in wanted.items() if read(path) != text}
        for path, text in {} if self.module.check_mode else changes.items():
            self.write(path, text)
        diff = {"before": self.before or "", "after": self.text(), "before_header": self.path}
        return {"changed": bool(changes), "owner_source": None, "diff": diff}

    def absent(self) -> dict[str, t.Any]:
        if self.ours and not self.module.check_mode:
            os.unlink(self.path)
            if os.path.lexists(self.key):
                os.unlink(self.key)
        return {"changed": self.ours}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "uri": {"type": "str"},
            "suite": {"type": "str"},
            "components": {"type": "list", "elements": "str", "default": []},
            "key_url": {"type": "str", "no_log": False},
            "fingerprint": {"type": "str", "default": ""},
        },
        required_if=[("state", "present", ["uri", "suite", "key_url"])],
        supports_check_mode=True,
    )
    source = Source(module)
    try:
        result = source.present() if module.params["state"] == "present" else source.absent()
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, source.path))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
