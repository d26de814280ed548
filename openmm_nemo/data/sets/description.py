"""Description of a set of domains: a table, counts by length and class, and a plot."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openmm_nemo.data.batches import crop_contacts
from openmm_nemo.data.families.profiles import PROFILE_KINDS
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.domains import UNLABELLED, Domain
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
CROPS = (64, 96, 128)
"""Lengths of the crops whose contacts with the outside are counted."""

CROP_DOMAINS = 1000
"""Number of domains, spread evenly over the set, in which they are counted."""

USEFUL_NEFF = 4.0
"""`ColumnFrequencies.neff` above which a profile has more information than its sequence."""


def describe_set(folder: Path) -> Iterator[str]:
    """Lines about the set in a folder; draws ``folder/info.png`` and writes ``folder/domains.csv``.

    A domain with codes of several classes counts as "several", one without any as "unknown".

    Raises
    ------
    InputError
        If the set cannot be read, or the files cannot be written.
    """
    domains = list(DomainSet(folder / SET_FILE))
    lengths = np.array([len(domain) for domain in domains])
    of_domain = np.array([_class_of(domain.cath) for domain in domains])
    classes = {name: of_domain == name for name in sorted(set(of_domain.tolist()))}
    yield f"{len(domains)} domains, {lengths.sum()} residues"
    for low, high in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        inside = (lengths >= low) & (lengths < (high or np.inf))
        if inside.any():
            span = f"{low} to {high - 1}" if high else f"{low} and more"
            yield f"  {span:16} residues {inside.sum():7}"
    for name, inside in classes.items():
        yield f"  class {name:19} {inside.sum():7}"
    for source, count in Counter(domain.cath_source for domain in domains).items():
        if source:
            yield f"  {_SOURCES[source]:25} {count:7}"
    if near := sum(domain.near_held_out for domain in domains):
        yield f"  {'near a held-out fold':25} {near:7}"
    neff = [{kind: p.neff for kind, p in domain.profiles.items()} for domain in domains]
    for kind in PROFILE_KINDS:
        found = [values[kind] for values in neff if kind in values]
        if found:
            useful = sum(value >= USEFUL_NEFF for value in found)
            yield f"  {f'profile, {kind}':25} {len(found):7}, {useful} of them with neff >= {USEFUL_NEFF:g}"
    yield from _describe_crops(domains)
    try:
        _write_table(folder / TABLE_FILE, domains, neff)
        with completing(folder / INFO_FILE) as partial:
            plot_domains(lengths, classes, partial, f"{len(domains)} domains")
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be written ({error.strerror}): copy the set to a folder that you can write."
        ) from None
    yield f"Wrote {folder / TABLE_FILE} and {folder / INFO_FILE}"


_SOURCES = {
    "seq": "CATH by sequence",
    "seq_part": "CATH of a part",
    "structure": "CATH by structure",
    UNLABELLED: "like no labelled domain",
}


def _describe_crops(domains: list[Domain]) -> Iterator[str]:
    for length in CROPS:
        longer = [domain for domain in domains if len(domain) > length]
        if longer:
            step = -(-len(longer) // CROP_DOMAINS)
            counts = [crop_contacts(domain, length) for domain in longer[::step]]
            outside, total = np.sum(counts, axis=0)
            share = outside / max(total, 1)
            yield f"  crops of {length:3}: {share:4.0%} of their contacts are with residues outside"


def _write_table(path: Path, domains: list[Domain], neff: list[dict[str, float]]) -> None:
    columns = ("id", "length", "breaks", "cath", "cath_source", "scop", "cluster")
    more = ("near_held_out", "same_as", *(f"neff_{kind}" for kind in PROFILE_KINDS), "sequence")
    with completing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*columns, *more))
        for d, values in zip(domains, neff, strict=True):
            codes = " ".join(d.cath), d.cath_source, " ".join(d.scop)
            depths = (f"{values[kind]:.2f}" if kind in values else "" for kind in PROFILE_KINDS)
            rest = int(d.near_held_out), d.same_as, *depths, d.sequence
            writer.writerow((d.id, len(d), len(d.breaks), *codes, d.cluster, *rest))


def _class_of(cath: tuple[str, ...]) -> str:
    found = {code.split(".")[0] for code in cath}
    if len(found) != 1:
        return "several" if found else "unknown"
    (number,) = found
    return CATH_CLASSES.get(number, number)
