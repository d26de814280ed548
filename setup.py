"""Packages of openmm_nemo; the models in ``torchscript_models/`` are installed inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["openmm_nemo", "openmm_nemo.*"]),
        "openmm_nemo.torchscript_models",
    ],
    package_dir={"openmm_nemo.torchscript_models": "torchscript_models"},
    package_data={"openmm_nemo.torchscript_models": ["*/*"]},
)
