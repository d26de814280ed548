"""Run all benchmarks: ``python -m tests.bench``, or those named: ``python -m tests.bench forces simulate``."""

import sys

import torch

from tests.bench import (
    compiled,
    data,
    evaluation,
    forces,
    integrator,
    native,
    parameters,
    peers,
    replicas,
    sampling,
    simulate,
    system,
    training,
)
from tests.bench.timing import machine

BENCHMARKS = {
    "parameters": parameters.main,
    "forces": forces.main,
    "compiled": compiled.main,
    "native": native.main,
    "integrator": integrator.main,
    "peers": peers.main,
    "simulate": simulate.main,
    "replicas": replicas.main,
    "system": system.main,
    "sampling": sampling.main,
    "data": data.main,
    "evaluation": evaluation.main,
    "training": training.main,
}

if __name__ == "__main__":
    torch.set_num_threads(1)  # as the command line does
    print(machine())
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"\n{name}: {sys.modules[f'tests.bench.{name}'].__doc__.splitlines()[0]}")
        BENCHMARKS[name]()
