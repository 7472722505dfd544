# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real vLLM server that generates no text: proven by an embedding, watched, and told so."""

SECONDS = 60
TURN = 0
