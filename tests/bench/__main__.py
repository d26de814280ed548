"""Run all benchmarks: ``python -m tests.bench``, or those named: ``python -m tests.bench forces simulate``.

``compiled`` runs only if it is named: it compiles for a quarter of an hour what the package does not use.

In addition to what they print, ``build/bench.json`` has all figures. To publish them, copy it, or the parts that are
new, to ``docs/results/bench.json``, from which the documentation makes its tables and plots.
"""

import sys

import torch

from tests.bench import (
    boltzmann,
    compiled,
    data,
    evaluation,
    forces,
    integrator,
    minimisation,
    native,
    parameters,
    peers,
    replicas,
    sampling,
    simulate,
    system,
    training,
)
from tests.bench.results import write
from tests.bench.timing import machine

BENCHMARKS = {
    "parameters": parameters.main,
    "forces": forces.main,
    "compiled": compiled.main,
    "native": native.main,
    "integrator": integrator.main,
    "minimisation": minimisation.main,
    "peers": peers.main,
    "simulate": simulate.main,
    "replicas": replicas.main,
    "system": system.main,
    "sampling": sampling.main,
    "boltzmann": boltzmann.main,
    "data": data.main,
    "evaluation": evaluation.main,
    "training": training.main,
}

ONLY_BY_NAME = {"compiled"}

if __name__ == "__main__":
    torch.set_num_threads(1)  # as the command line does
    print(machine())
    for name in sys.argv[1:] or [name for name in BENCHMARKS if name not in ONLY_BY_NAME]:
        print(f"\n{name}: {sys.modules[f'tests.bench.{name}'].__doc__.splitlines()[0]}")
        BENCHMARKS[name]()
        write(name)
