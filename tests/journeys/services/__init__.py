# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that one host lists, each proven, rolled back and removed alone; and two that take turns."""

SECONDS = 260
TURN = 0
