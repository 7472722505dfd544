# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller that a playbook writes for the operator."""

from __future__ import annotations

import os


def check(path: str) -> str:
    """The real path of a file that can be written there. OSError: why not."""
    target = os.path.realpath(os.path.expanduser(path))  # a link stays a link
    folder = os.path.dirname(target)
    if os.path.isdir(target) or (os.path.exists(target) and not os.path.isfile(target)):  # /dev/null must stay
        raise OSError(0, "it is no regular file")
    if not os.path.isdir(folder):
        raise FileNotFoundError(0, f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(0, f"the folder {folder} is not writable")
    return target


def write(path: str, content: str | bytes, mode: int = 0o666) -> None:
    """The whole file or nothing: whoever reads it never sees half of it.

    MODE is the mode of the file; the default is left to the umask, as for any new file.
    """
    target = check(path)
    partial = f"{target}.{os.getpid()}.partial"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if mode != 0o666:
                os.fchmod(file.fileno(), mode)  # whatever the umask is
        os.replace(partial, target)
    except OSError:
        if os.path.exists(partial):
            os.unlink(partial)
        raise
