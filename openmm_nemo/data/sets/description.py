"""What is in a set of domains: a table, counts by length and class, and a picture of it."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.plots import plot_domains
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing

CATH_CLASSES = {
    "1": "1 mainly alpha",
    "2": "2 mainly beta",
    "3": "3 alpha beta",
    "4": "4 few structures",
    "6": "6 special",
}
INFO_FILE = "info.png"
TABLE_FILE = "domains.csv"
LENGTHS = (0, 50, 100, 150, 200)


def describe_set(folder: Path) -> Iterator[str]:
    """Lines about the set in a folder; draws ``folder/info.png`` and writes ``folder/domains.csv``.

    A domain with codes of several classes counts as "several", one without any as "unknown".

    Raises
    ------
    InputError
        If the set cannot be read, or the files cannot be written.
    """
    domains = DomainSet(folder / SET_FILE)
    of_domain = np.array([_class_of(domain.cath) for domain in domains])
    classes = {name: of_domain == name for name in sorted(set(of_domain.tolist()))}
    yield f"{len(domains)} domains, {domains.lengths.sum()} residues"
    for low, high in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        inside = (domains.lengths >= low) & (domains.lengths < (high or np.inf))
        if inside.any():
            span = f"{low} to {high - 1}" if high else f"{low} and more"
            yield f"  {span:16} residues {inside.sum():7}"
    for name, inside in classes.items():
        yield f"  class {name:19} {inside.sum():7}"
    try:
        _write_table(folder / TABLE_FILE, domains)
        with completing(folder / INFO_FILE) as partial:
            plot_domains(domains.lengths, classes, partial, f"{len(domains)} domains")
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be written ({error.strerror}): copy the set to a folder of your own."
        ) from None
    yield f"Wrote {folder / TABLE_FILE} and {folder / INFO_FILE}"


def _write_table(path: Path, domains: Iterable[Domain]) -> None:
    with completing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "length", "breaks", "cath", "scop", "cluster", "sequence"))
        for d in domains:
            codes = " ".join(d.cath), " ".join(d.scop)
            writer.writerow((d.id, len(d), len(d.breaks), *codes, d.cluster, d.sequence))


def _class_of(cath: tuple[str, ...]) -> str:
    found = {code.split(".")[0] for code in cath}
    if len(found) != 1:
        return "several" if found else "unknown"
    (number,) = found
    return CATH_CLASSES.get(number, number)
