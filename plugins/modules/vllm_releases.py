#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of a vLLM service on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_releases
short_description: Read and mark the releases of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - A release is what the role P(dgxspark.vllm.vllm#role) has rendered for one deployment. Its folder is never edited.
  - With O(state=read) says which there are, which one runs, and which was good when.
  - With O(state=good) marks a release as proven, points the link C(good) at it, and removes what nobody needs any more.
options:
  home:
    description: Folder of the service on the host.
    type: path
    required: true
  state:
    description: What to do.
    type: str
    choices: [read, good]
    default: read
  release:
    description: Name of the release. Needed with O(state=good).
    type: str
  keep:
    description:
      - How many good releases stay. The one that runs stays anyway.
      - Releases that never were good go when they are older than those, and so do all but the last ones, as many, of
        what is older than the release. One that is staged for later stays.
      - Of those that failed and have a C(remedy.json), which the role looks up there, the last ones stay, as many.
    type: int
    default: 3
  remove_images:
    description: Remove the images of releases that go, unless another release or any container uses them.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: full
    description: Shows the releases and images that go.
  idempotent:
    support: full
    description: A second run changes nothing.
    details: The time at which a release was last proven is written anew, which is no change.
notes:
  - Needs root.
"""

EXAMPLES = r"""
- name: What could this host go back to?
  dgxspark.vllm.vllm_releases:
    home: /opt/vllm
  become: true
  register: releases

- name: Keep what was proven
  dgxspark.vllm.vllm_releases:
    home: /opt/vllm
    state: good
    release: 0123456789ab
  become: true
"""

RETURN = r"""
current:
  description: The release that the unit starts. V(null) if there is none.
  returned: always
  type: str
  sample: 0123456789ab
good:
  description: The release that was proven last.
  returned: always
  type: str
  sample: 0123456789ab
previous:
  description: The release to go back to from RV(current), the last one that was good beside it.
  returned: always
  type: str
  sample: ba9876543210
releases:
  description: All releases, the one that was proven last first.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Its name.
      type: str
    good:
      description: When it was last proven, in seconds since 1970. V(null) if it never was.
      type: float
    facts:
      description: What its file C(release.json) says, among it model, image, container and url.
      type: dict
  sample:
    - id: 0123456789ab
      good: 1795644000.0
      facts: {"model": "Qwen/Qwen3-8B-FP8", "image": "nvcr.io/nvidia/vllm:25.09-py3"}
taken_over:
  description:
    - What was stopped to make room for a release that is not proven yet. Empty if nothing was.
    - C(holders) are as the module M(dgxspark.vllm.vllm_takeover) returns them; C(beside) is the release of this service
      that served beside them, V(null) if none did.
  returned: always
  type: dict
  sample: {}
removed:
  description: Releases that went, or would go.
  returned: always
  type: list
  elements: str
  sample: []
removed_images:
  description: Images that went, or would go.
  returned: always
  type: list
  elements: str
  sample: []
"""

import contextlib
import dataclasses
import os
import shutil
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import (
    NAME,
    TAKEN_OVER,
    Release,
    in_order,
    linked,
    other_homes,
    outdated,
    read,
    read_json,
    replace,
    unused_images,
    write,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import noted, served_beside

UNITS = "/etc/systemd/system"


class Good:
    """Marks a release as good and removes what it makes needless."""

    def __init__(self, module: AnsibleModule, home: str, release: str) -> None:
        self.module = module
        self.home = home
        self.release = release
        self.now = time.time()
        self.changed = False

    def folder(self, release: str) -> str:
        return os.path.join(self.home, "releases", release)

    def mark(self) -> None:
        folder = self.folder(self.release)
        if not NAME.fullmatch(self.release) or os.path.islink(folder) or not os.path.isdir(folder):
            self.module.fail_json(msg=f"release: {self.release!r} is not a release in {self.home}/releases")
        self.changed = linked(self.home, "good") != self.release
        if self.module.check_mode:
            return
        write(os.path.join(folder, "good"), f"{self.now:.3f}\n")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.home, TAKEN_OVER))  # there is no way back to it any more
        if self.changed:  # the last step: a run that was interrupted before it begins anew
            replace(os.path.join(self.home, "good"), lambda new: os.symlink(f"releases/{self.release}", new))

    def prune(self, keep: int, images: bool) -> tuple[list[str], list[str]]:
        releases = in_order(
            dataclasses.replace(release, good=self.now) if release.id == self.release else release
            for release in read(self.home)
        )
        gone = [
            release
            for release in outdated(releases, keep, {self.release, linked(self.home, "current")})
            if self.module.check_mode or self.remove(self.folder(release.id))
        ]
        kept = [release for release in releases if release not in gone]
        self.changed = self.changed or bool(gone)
        return [release.id for release in gone], self.remove_images(gone, kept) if images else []

    def remove(self, folder: str) -> bool:
        """Whether it is gone. What stays is no reason to fail, for the release is proven; a later run tries again."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, "good"))  # first: nobody goes back to half a release
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:  # somebody else removes it
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            self.module.warn(f"{folder} stays, because {error.filename or folder} cannot be removed: {error.strerror}")
            return False
        return True

    def remove_images(self, gone: list[Release], kept: list[Release]) -> list[str]:
        """An image that a container has, running or not, is refused by Docker itself; so is one that is not there."""
        docker = self.module.get_bin_path("docker")
        others = [release for home in other_homes(self.home, UNITS) for release in read(home)]
        removed = []
        for image in unused_images(gone, [*kept, *others]) if docker else []:
            if self.module.check_mode or self.module.run_command([docker, "image", "rm", "--", image])[0] == 0:
                removed.append(image)
        return removed


def state_of(home: str) -> dict[str, t.Any]:
    releases, current = read(home), linked(home, "current")
    note = read_json(os.path.join(home, TAKEN_OVER))
    holders = noted(note)
    return {
        "current": current,
        "good": linked(home, "good"),
        "previous": next((one.id for one in releases if one.good is not None and one.id != current), None),
        "releases": [{"id": one.id, "good": one.good, "facts": dict(one.facts)} for one in releases],
        "taken_over": {"holders": holders, "beside": served_beside(note)} if holders else {},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["read", "good"], "default": "read"},
            "release": {"type": "str"},
            "keep": {"type": "int", "default": 3},
            "remove_images": {"type": "bool", "default": True},
        },
        required_if=[("state", "good", ["release"])],
        supports_check_mode=True,
    )
    home: str = module.params["home"]
    if module.params["keep"] < 1:
        module.fail_json(msg=f"keep: {module.params['keep']} is not allowed; use 1 or more")
    result: dict[str, t.Any] = {"changed": False, "removed": [], "removed_images": []}
    try:
        if module.params["state"] == "good":
            good = Good(module, home, module.params["release"])
            good.mark()
            result["removed"], result["removed_images"] = good.prune(
                module.params["keep"], module.params["remove_images"]
            )
            result["changed"] = good.changed
            if result["removed"]:
                lines = "".join(f"{line}\n" for line in [*result["removed"], *result["removed_images"]])
                result["diff"] = {"before": lines, "after": "", "before_header": f"{home}/releases, images"}
        result.update(state_of(home))
    except PermissionError as error:
        module.fail_json(msg=f"{error.filename or home}: {error.strerror}. It needs root: become: true")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or home}: {error.strerror}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
