# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role spark_host. One line for each problem."""

from __future__ import annotations

import re

from .._catalog.catalog import Catalog
from .._common.text import show
from .._common.types import TypedValues
from .common import Lines, matches


def spark_host(checked: TypedValues, catalog: Catalog) -> Lines:
    if checked.valid("spark_host_sysctl"):
        for key, value in checked["spark_host_sysctl"].items():
            where = f"spark_host_sysctl.{key}"
            if not re.fullmatch(r"[a-z0-9_]+([./][A-Za-z0-9_-]+)+", str(key)):
                yield f"{where}: is not the name of a kernel value; use one such as vm.swappiness"
            elif isinstance(value, (dict, list)) or value is None or re.search(r"[\r\n]", str(value)):
                yield f"{where}: {show(value)} is not allowed; use a number or one line of text"
    yield from matches(
        checked, "spark_host_earlyoom_args", r'[^"\r\n]*', "one line without a double quote, such as -M 2097152 -s 100"
    )
