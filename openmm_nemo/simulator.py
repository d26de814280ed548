"""Former name of `openmm_nemo.dynamics`; it will be removed in version 1.0."""

import warnings

from openmm_nemo.dynamics import *  # noqa: F403

warnings.warn(
    "openmm_nemo.simulator is now called openmm_nemo.dynamics.", FutureWarning, stacklevel=2
)
