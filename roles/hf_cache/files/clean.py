# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes dead partial downloads from the model cache argv[1]: what dgxspark-hf-clean.timer runs once a day.

It is hf_cache_clean without Ansible. The module host_code copies it, and the package that it imports, to the host.
"""

from __future__ import annotations

import os
import sys

from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import clean as hf_clean
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout, memory


def main(path: str) -> None:
    try:
        with memory.limited():
            layout.check_path(path)
            cleaning = hf_clean.Cleaning(os.path.normpath(path), {"partials"}, check_mode=False, idle=False)
            cleaning.run([], None)
    except layout.CacheError as error:
        sys.exit(str(error))
    for file in cleaning.removed:
        print(f"removed {file['path']}, {file['bytes']} bytes")
    for file in cleaning.kept:
        print(f"left alone {file['path']}: {file['reason']}")
    print(
        f"{len(cleaning.removed)} dead partial downloads, {sum(file['bytes'] for file in cleaning.removed)} bytes freed"
    )


if __name__ == "__main__":
    main(sys.argv[1])
