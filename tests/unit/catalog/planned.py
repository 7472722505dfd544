# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role would start, for every model, profile and image that go together, from its own variables.

A program of its own, because Ansible's loader of plugins cannot be taken back. Prints a JSON list. With a JSON mapping
of variables as an argument, only the models are planned that its vllm_models holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from functools import cache


class Planned(t.NamedTuple):
    model: str
    profile: str
    image: str
    vllm: str | None
    words: list[str]  # what follows `vllm serve`
    environment: dict[str, str]


@cache
def planned() -> list[Planned]:
    run = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True, timeout=300)
    return [Planned(*item) for item in json.loads(run.stdout)]


def main() -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import Templar

    init_plugin_loader()  # from here on it is what finds ansible_collections

    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import unable
    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.per_image import for_image
    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import ROLES
    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain

    role = ROLES / "vllm"
    loader = DataLoader()
    variables = {"role_path": str(role), "__dgxspark": {"spark": {"memory": {"total_bytes": 130_663_448_576}}}}
    for part in ("defaults", "vars"):
        variables.update(loader.load_from_file(str(role / part / "main.yml"), trusted_as_template=True))
    user = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    variables.update(user)
    catalog = Catalog()
    models = catalog.models(user.get("vllm_models"))
    wanted = user.get("vllm_models", models)
    found: list[Planned] = []
    done: dict[str, t.Any] = {}  # what an image brings with it is all that makes a difference
    for ref in catalog.images():
        image = catalog.image(ref)
        for model, entry in ((name, models[name]) for name in wanted):
            for profile in () if unable(entry, image) else catalog.profiles():
                key = json.dumps([model, profile, image["command_prefix"], for_image(entry, image)])
                if key not in done:
                    chosen = {"vllm_model": model, "vllm_profile": profile, "vllm_image": ref}
                    templar = Templar(loader=loader, variables={**variables, **chosen})
                    done[key] = [
                        plain(templar.resolve_variable_expression(name))
                        for name in ("__vllm_argv", "__vllm_environment")
                    ]
                argv, environment = done[key]
                prefix = image["command_prefix"]
                assert argv[: len(prefix)] == prefix
                found.append(Planned(model, profile, ref, image["vllm"], argv[len(prefix) :], environment))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
