# make demo, make test and make bench work on a fresh machine: each makes the environment that it needs.

# One release for everybody; any recent build of torch works, with or without CUDA.
TORCH ?= torch==2.13.0
PYTHON ?= python3

.PHONY: demo test test-slow check bench clean

demo: .venv/ready
	rm -rf run/demo
	.venv/bin/openmm-nemo simulate --pdb examples/data/1l2y.pdb --reference --start native \
	    --model nemo-tiny --steps 250 --temperature 300 --seed 1 --atoms atoms.pdb --out run/demo
	@echo "Look at run/demo/state.png; run/demo/final_atoms.pdb and run/demo/atoms.pdb open in any viewer."

test: .venv-test/ready
	OPENMM_NEMO_REQUIRE_TORCHFORCE=1 .venv-test/bin/python -m pytest

test-slow: .venv-test/ready
	OPENMM_NEMO_REQUIRE_TORCHFORCE=1 .venv-test/bin/python -m pytest -m slow

check: .venv-test/ready
	.venv-test/bin/ruff check
	.venv-test/bin/ruff format --check
	.venv-test/bin/mypy

bench: .venv-test/ready
	.venv-test/bin/python -m tests.bench

# Light: torch alone. OpenMM calls the energy through PythonForce.
.venv/ready: pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet "$(TORCH)"
	.venv/bin/pip install --quiet --editable .
	touch $@

# Full: the torch release that TorchForce was built against, several GB, and the test tools.
.venv-test/ready: pyproject.toml setup.py
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet --editable ".[torchforce,test]"
	touch $@

clean:
	rm -rf .venv .venv-test run build *.egg-info
