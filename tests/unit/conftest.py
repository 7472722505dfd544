# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests share: `ansible-playbook` away from the user's own settings, and properties on a busy machine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from support.playbook import AnsiblePlaybook

# A busy machine is no reason for a property test to fail.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def ansible_playbook(tmp_path_factory: pytest.TempPathFactory) -> AnsiblePlaybook:
    """`ansible-playbook` with this clone's settings, whose own files stay in a folder of these tests."""
    home = tmp_path_factory.mktemp("ansible")
    return AnsiblePlaybook(environment={"ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "tmp")})
