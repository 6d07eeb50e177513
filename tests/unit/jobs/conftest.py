"""An engine that follows a script, for the jobs too."""

from __future__ import annotations

from unit.ovirt.conftest import engine as engine
from unit.ovirt.conftest import journal as journal
from unit.ovirt.conftest import script as script
