# An image with openmm-nemo, its models and examples:
#
#     docker build --tag openmm-nemo .
#     docker run --rm --user "$(id -u)" --volume "$PWD:/data" openmm-nemo simulate --sequence NLYIQWLKDG --out run
#
# pip takes the build of torch that its index has: for Linux that with CUDA, of several GB. For a small image, give
# PyTorch's index of CPU builds as --build-arg PIP_EXTRA_INDEX_URL, and --build-arg TORCH=torch==2.13.0+cpu.
FROM python:3.12.12-slim-bookworm

ARG TORCH=torch==2.13.0
ARG EXTRAS=analyze,evaluate
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 OPENMM_NEMO_REQUIRE_PLUGIN=1 MPLCONFIGDIR=/tmp/matplotlib

# For the plugin; any g++ of this Debian will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# Releases are those in TORCH and pyproject.toml.
WORKDIR /opt/openmm-nemo
# hadolint ignore=DL3013
RUN pip install "$TORCH"
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff ./
COPY openmm_nemo openmm_nemo
COPY torchscript_models torchscript_models
# hadolint ignore=DL3013
RUN pip install ".[$EXTRAS]" && rm -rf build
COPY examples examples

RUN useradd --uid 1000 nemo
USER 1000
WORKDIR /data
RUN openmm-nemo doctor
ENTRYPOINT ["openmm-nemo"]
CMD ["--help"]
