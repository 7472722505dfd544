#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks a release of a vLLM service as good and removes outdated ones."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_release
short_description: Marks a release of a vLLM service as good and removes outdated releases
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - A release is a folder that the role P(dgxspark.vllm.vllm#role) rendered for one deployment. It is never edited.
  - Marks O(release) as good, points the link C(good) in O(home) to it, and notes the servers that were stopped for it
    as replaced. M(dgxspark.vllm.vllm_takeover) can start these again when the service is removed.
  - Removes releases that are no longer needed, and their images.
  - Removes secrets that are no longer needed from the releases that stay.
  - To read the releases, see M(dgxspark.vllm.vllm_releases_info).
options:
  home:
    description: Folder of the service on the host, as C(vllm_home) of the role P(dgxspark.vllm.vllm#role).
    type: path
    required: true
  release:
    description: Name of the release to mark as good. Without it, outdated releases are removed and none is marked.
    type: str
  keep:
    description:
      - Number of good releases to keep. The release in service is kept in any case.
      - A release that was never good is removed if it is older than the good releases that are kept, or if it is older
        than the last good one and more than O(keep) of its kind are newer. A release that was staged for later is kept.
      - Of the failed releases with a C(remedy.json), which the role reads, the last O(keep) are kept.
    type: int
    default: 3
  remove_images:
    description:
      - Whether to remove the images of removed releases that no other release and no container uses.
      - Only images that M(dgxspark.vllm.vllm_image) pulled for a service are removed. Others, and those that no
        registry has, are their owner's.
    type: bool
    default: true
  replace_secrets:
    description:
      - Whether O(release) has the secrets that count from now on. The other releases then get its values, so that no
        release brings back a key or a token that was replaced.
      - A release that was staged for later, which is one that was never good and is newer than O(release), keeps its
        own. So does a release that needs a secret for which O(release) has no value.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: full
    description: Shows the releases and images that are removed. Secrets are not shown.
  idempotent:
    support: full
    description: A second run changes nothing.
    details: The time at which the release was verified is written again. This is not reported as a change.
notes:
  - Requires root.
seealso:
  - module: dgxspark.vllm.vllm_releases_info
"""

EXAMPLES = r"""
- name: Mark a release as good and keep the last three good ones
  dgxspark.vllm.vllm_release:
    home: /opt/vllm
    release: 0123456789ab
    replace_secrets: true
  become: true

- name: Remove all good releases but the last one and the one in service
  dgxspark.vllm.vllm_release:
    home: /opt/vllm
    keep: 1
  become: true
"""

RETURN = r"""
good:
  description: The release that was verified last, to which the link C(good) points. V(null) if there is none.
  returned: success
  type: str
  sample: 0123456789ab
removed:
  description: Releases that were removed, or would be removed in check mode.
  returned: success
  type: list
  elements: str
  sample: []
removed_images:
  description: Images that were removed, or would be removed in check mode.
  returned: success
  type: list
  elements: str
  sample: []
changed_secrets:
  description:
    - Releases from whose file C(.env) a value was removed, or whose value was replaced, or would be in check mode.
    - A value is removed if the C(compose.yaml) of the release does not use it.
  returned: success
  type: list
  elements: str
  sample: []
"""

import contextlib
import dataclasses
import json
import os
import shutil
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.home import forget_image, is_copied, is_pulled
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import (
    NAME,
    REPLACED,
    TAKEN_OVER,
    Moment,
    Release,
    in_order,
    linked,
    mark_of,
    next_number,
    other_homes,
    outdated,
    read,
    read_json,
    replace,
    unused_images,
    write,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.secrets import env_file, settled, values_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import merged, noted
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

UNITS = "/etc/systemd/system"


class Releases:
    """The releases in HOME, of which RELEASE is to be marked as good; None marks nothing."""

    def __init__(self, module: AnsibleModule, home: str, release: str | None) -> None:
        self.module = module
        self.home = home
        self.release = release
        self.moment = Moment(next_number(read(home)), time.time())
        self.changed = False

    def folder(self, release: str) -> str:
        return os.path.join(self.home, "releases", release)

    def check(self, release: str) -> None:
        folder = self.folder(release)
        if not NAME.fullmatch(release) or os.path.islink(folder) or not os.path.isdir(folder):
            self.module.fail_json(msg=f"release: {release!r} is not a release in {self.home}/releases")

    def mark(self, release: str) -> None:
        folder = self.folder(release)
        is_new = linked(self.home, "good") != release
        self.changed = self.changed or is_new
        if self.module.check_mode:
            return
        write(os.path.join(folder, "good"), mark_of(self.moment))
        self.remember_replaced()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.home, TAKEN_OVER))  # a recovery does not start them again any more
        if is_new:  # the last step: a run that was interrupted before it begins anew
            replace(os.path.join(self.home, "good"), lambda new: os.symlink(f"releases/{release}", new))

    def remember_replaced(self) -> None:
        path = os.path.join(self.home, REPLACED)
        stopped = noted(read_json(os.path.join(self.home, TAKEN_OVER)))
        if stopped:
            write(path, json.dumps({"holders": merged(noted(read_json(path)), stopped)}))

    def prune(self, keep: int, images: bool) -> tuple[list[str], list[str]]:
        releases = in_order(
            dataclasses.replace(release, good=self.moment) if release.id == self.release else release
            for release in read(self.home)
        )
        needed = {self.release or linked(self.home, "good"), linked(self.home, "current")}
        gone = [
            release
            for release in outdated(releases, keep, needed)
            if self.module.check_mode or self.remove(self.folder(release.id))
        ]
        kept = [release for release in releases if release not in gone]
        self.changed = self.changed or bool(gone)
        return [release.id for release in gone], self.remove_images(gone, kept) if images else []

    def settle_secrets(self, replace: bool) -> list[str]:
        """Before the release is marked: a run that was interrupted begins anew. As with remove(), no reason to fail."""
        changed = []
        releases = read(self.home)
        values = values_of(self.home, self.release) if self.release else {}
        mine = next((release.staged for release in releases if release.id == self.release), None)
        for release in releases:
            is_for_later = mine is not None and release.good is None and release.staged > mine
            new = values if replace and not is_for_later and release.id != self.release else {}
            try:
                text = settled(self.home, release.id, self.release, new)
                if text is not None and not self.module.check_mode:
                    write(env_file(self.home, release.id), text, mode=0o600)
            except OSError as error:
                path = error.filename or env_file(self.home, release.id)
                self.module.warn(f"{path} keeps secrets that are no longer needed: {error.strerror}")
                text = None
            changed += [release.id] if text is not None else []
        self.changed = self.changed or bool(changed)
        return changed

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
        """An image that a container has, running or not, is refused by Docker itself."""
        docker = self.module.get_bin_path("docker")
        homes = other_homes(self.home, UNITS)
        others = [release for home in homes for release in read(home)]
        removed = []
        for image in unused_images(gone, [*kept, *others]) if docker else []:
            ident = self.pulled_id(docker, image, [self.home, *homes])
            if ident and (self.module.check_mode or self.remove_image(docker, image)):
                removed.append(image)
                for home in [] if self.module.check_mode else [self.home, *homes]:
                    forget_image(home, ident, image)
        return removed

    def pulled_id(self, docker: str, image: str, homes: list[str]) -> str | None:
        """The id of an image that was pulled for a service; None for one that is not there, or of its owner's."""
        form = "--format={{.Id}} {{len .RepoDigests}}"
        words = self.module.run_command([docker, "image", "inspect", form, "--", image])[1].split()
        # without a digest: copied from another host, or built here
        if len(words) != 2 or (words[1] == "0" and not any(is_copied(home, words[0]) for home in homes)):
            return None
        return str(words[0]) if any(is_pulled(home, words[0], image) for home in homes) else None

    def remove_image(self, docker: str, image: str) -> bool:
        return bool(self.module.run_command([docker, "image", "rm", "--", image])[0] == 0)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "release": {"type": "str"},
            "keep": {"type": "int", "default": 3},
            "remove_images": {"type": "bool", "default": True},
            "replace_secrets": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    home: str = module.params["home"]
    release: str | None = module.params["release"]
    if module.params["keep"] < 1:
        module.fail_json(msg=f"keep: {module.params['keep']} is not allowed; use 1 or more")
    result: dict[str, t.Any] = {}
    try:
        releases = Releases(module, home, release)
        if release is not None:
            releases.check(release)
        secrets = releases.settle_secrets(module.params["replace_secrets"])
        if release is not None:
            releases.mark(release)
        removed, images = releases.prune(module.params["keep"], module.params["remove_images"])
        result.update(changed=releases.changed, good=linked(home, "good"), removed=removed, removed_images=images)
        result.update(changed_secrets=secrets)
        if removed:
            lines = "".join(f"{line}\n" for line in [*removed, *images])
            result["diff"] = {"before": lines, "after": "", "before_header": f"{home}/releases, images"}
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, home))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
