# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model with a draft model of its own: both downloaded, served offline, and health tells how much is accepted."""

SECONDS = 50
TURN = 1
