"""CATH and SCOP codes from files: the user's own tables, and the domain list of a CATH release."""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.errors import InputError

_CODES = {
    "cath": (re.compile(r"[1-9][0-9]*(\.[1-9][0-9]*){0,3}"), "1.10.490.10"),
    "scop": (re.compile(r"[a-z](\.[0-9]+){0,3}"), "a.1.1.2"),
}
_RELEASE_LINE = re.compile(r"\w{5}\d\d(\s+\d+){4}(\s|$)")


@dataclass(frozen=True)
class Labels:
    """Codes of domains from a file.

    Attributes
    ----------
    path : Path
        The file.
    cath, scop : dict of str to tuple of str
        Codes by the id of the domain; empty for a domain that has none according to the file.
    is_release : bool
        Whether this is the domain list of a CATH release, which has more domains than a set.
    """

    path: Path
    cath: dict[str, tuple[str, ...]]
    scop: dict[str, tuple[str, ...]]
    is_release: bool


def is_cath_code(code: str) -> bool:
    """Whether this is one to four numbers like "1.10.490.10"; fewer than four if the deeper levels are unknown."""
    return _CODES["cath"][0].fullmatch(code) is not None


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read the codes of domains.

    The file is either a table, comma- or tab-separated, with a header of ``id`` and ``cath``, ``scop`` or both, where
    several codes are separated by spaces or semicolons; or the domain list of a CATH release (cath-domain-list.txt,
    format 2.0: name, then the numbers of C, A, T and H, then columns that are not read). In both, lines that begin with
    # are comments. A domain 1abcA02 in such a list is looked up in a set as 1abcA02, 1abcA02_A (chain A of a file of
    that domain), and 1abc_A and pdb1abc_A (the whole chain, which gets the codes of all its domains).

    Parameters
    ----------
    path : path

    Returns
    -------
    Labels

    Raises
    ------
    InputError
        If the file cannot be read, is neither of these, names a domain twice, or has a malformed code.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [
            (f"line {number} of {path}", line)
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip() and not line.startswith("#")
        ]
        first = lines[0][1] if lines else ""
        separator = "\t" if "\t" in first else ","
        header = [name.lower() for name in _fields(first, separator)]
        if "id" in header and _CODES.keys() & set(header):
            return _read_table(path, lines[1:], header, separator)
        if _RELEASE_LINE.match(first):
            return _read_release(path, lines)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The labels {path} cannot be read ({error}): give a text file.") from None
    raise InputError(
        f"{path} has no readable labels: give a table with a header id,cath,scop "
        "or the domain list of a CATH release."
    )


def with_labels(domains: Iterable[Domain], labels: Labels) -> Iterator[Domain]:
    """Domains with the codes in a file; those that it does not name keep their own.

    Parameters
    ----------
    domains : iterable of Domain
    labels : Labels

    Returns
    -------
    iterator of Domain

    Raises
    ------
    InputError
        If the file names a domain that does not exist; for a CATH release, if it names none that exists.
    """
    domains = list(domains)
    ids = {domain.id for domain in domains}
    named = labels.cath.keys() | labels.scop.keys()
    unknown = sorted(named - ids)
    if len(unknown) == len(named) or (unknown and not labels.is_release):
        raise InputError(
            f"{labels.path} names {len(unknown)} domains that the set does not have, such as {unknown[0]}: "
            "use the ids that 'openmm-nemo data build' gives, such as 1abc_A for chain A of 1abc.pdb."
        )
    return (
        replace(
            domain,
            cath=labels.cath.get(domain.id, domain.cath),
            scop=labels.scop.get(domain.id, domain.scop),
            cath_source="" if domain.id in labels.cath else domain.cath_source,
        )
        for domain in domains
    )


def _read_table(
    path: Path, lines: list[tuple[str, str]], header: list[str], separator: str
) -> Labels:
    for name in ("id", *_CODES):
        if header.count(name) > 1:
            raise InputError(f"{path} has {header.count(name)} columns {name}: keep one.")
    found: dict[str, dict[str, tuple[str, ...]]] = {kind: {} for kind in _CODES}
    seen = set()
    for place, line in lines:
        fields = _fields(line, separator)
        if len(fields) != len(header):
            raise InputError(
                f"There are {len(fields)} columns in {place}, but {len(header)} in the header: "
                "give the same number."
            )
        values = dict(zip(header, fields, strict=True))
        name = values["id"]
        if not name:
            raise InputError(f"There is no id in {place}: give each line one.")
        if name in seen:
            raise InputError(f"The id {name} is repeated in {place}: give each domain one line.")
        seen.add(name)
        for kind in _CODES.keys() & set(header):
            codes = re.findall(r"[^\s;]+", values[kind])
            found[kind][name] = tuple(dict.fromkeys(_check(code, kind, place) for code in codes))
    if not seen:
        raise InputError(f"{path} has a header but no labels: give one line per domain.")
    return Labels(path, found["cath"], found["scop"], is_release=False)


def _fields(line: str, separator: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]


def _check(code: str, kind: str, place: str) -> str:
    pattern, example = _CODES[kind]
    if not pattern.fullmatch(code):
        raise InputError(
            f"{code!r} in {place} is not a {kind.upper()} code: give one like {example}."
        )
    return code


def _read_release(path: Path, lines: list[tuple[str, str]]) -> Labels:
    cath: dict[str, dict[str, None]] = defaultdict(dict)  # its keys are an ordered set
    for place, line in lines:
        if not _RELEASE_LINE.match(line):
            raise InputError(
                f"There is no domain name with four CATH numbers in {place}: get the list again."
            )
        name, *numbers = line.split()[:5]
        code = _check(".".join(numbers), "cath", place)
        chain = name[4]
        entry = f"{name[:4]}_{chain}"
        for key in (name, f"{name}_{chain}", entry, f"pdb{entry}"):
            cath[key][code] = None
    return Labels(path, {name: tuple(codes) for name, codes in cath.items()}, {}, is_release=True)
