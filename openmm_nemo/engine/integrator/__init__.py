"""`NemoLangevinIntegrator`: the mixed Cartesian and internal-coordinate Langevin step in OpenMM (nemo.md 5.5).

The compiled one if it was built, otherwise one driven from Python; both give the same trajectory for the same seed.
"""

from typing import TYPE_CHECKING

from openmm_nemo.engine.integrator.compiled import CompiledIntegrator
from openmm_nemo.engine.integrator.interface import LangevinInterface
from openmm_nemo.engine.integrator.python import PythonIntegrator
from openmm_nemo.plugin import plugin_problem

if TYPE_CHECKING:
    NemoLangevinIntegrator = CompiledIntegrator
else:
    NemoLangevinIntegrator = CompiledIntegrator if plugin_problem() is None else PythonIntegrator

__all__ = ["CompiledIntegrator", "LangevinInterface", "NemoLangevinIntegrator", "PythonIntegrator"]
