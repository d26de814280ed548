"""Domains read per second: from PDB and mmCIF files, beside mdtraj.load on the same files, and from a set."""

import gzip
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gemmi
import mdtraj as md
from threadpoolctl import threadpool_limits

from openmm_nemo.data.sets.building import read_source
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from tests.bench.timing import interleaved

FILES = sorted(Path("tests/data").glob("*.pdb.gz"))
REPEATS = 5
SET_SIZE = 1000


def main() -> None:
    print(f"{'from':24} {'domains/s':>10} {'files/s':>9} {'beside mdtraj.load':>19}")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        domains: list[Domain] = []
        for suffix in (".pdb", ".cif"):
            files = [_copy(file, Path(folder), suffix) for file in FILES]
            domains = [domain for file in files for domain in read_source(file)[0]]
            _compare(suffix, files, len(domains))
        path = Path(folder) / "domains.safetensors"
        many = [replace(domains[i % len(domains)], id=str(i)) for i in range(SET_SIZE)]
        write_domains(path, many)
        seconds = interleaved({"set": lambda: list(DomainSet(path))}, REPEATS)["set"]
        print(f"{'set, opened and read':24} {SET_SIZE / seconds:10.0f}")


def _copy(file: Path, folder: Path, suffix: str) -> Path:
    """The file unpacked, or as mmCIF."""
    path = folder / (file.name.removesuffix(".pdb.gz") + suffix)
    text = gzip.decompress(file.read_bytes()).decode()
    if suffix == ".cif":
        structure = gemmi.read_pdb_string(text)
        structure.setup_entities()
        structure.make_mmcif_document().write_file(str(path))
    else:
        path.write_text(text)
    return path


def _compare(suffix: str, files: list[Path], n_domains: int) -> None:
    functions: dict[str, Callable[[], object]] = {
        "domains, with DSSP": lambda: [read_source(file) for file in files],
        "mdtraj.load": lambda: [md.load(str(file)) for file in files],
    }
    median = interleaved(functions, REPEATS)
    for name, seconds in median.items():
        print(
            f"{f'{suffix[1:]}: {name}':24} {n_domains / seconds:10.0f} {len(files) / seconds:9.1f} "
            f"{median['mdtraj.load'] / seconds:19.2f}",
            flush=True,
        )
