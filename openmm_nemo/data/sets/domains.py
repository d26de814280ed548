"""Protein domains, on which the networks are trained and evaluated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import mdtraj as md
import numpy as np
import torch

from openmm_nemo.data.families.profiles import PROFILE_KINDS, ColumnFrequencies
from openmm_nemo.data.structures.chains import Structure
from openmm_nemo.errors import InputError
from openmm_nemo.files import can_name_a_file
from openmm_nemo.geometry.similarity import contacts
from openmm_nemo.residues import AMINO_ACIDS, THREE_LETTER

DSSP_CLASSES = "-HBEGITS"
"""Coil, alpha helix, bridge, strand, 3-10 helix, pi helix, turn, bend."""

TRANSFERRED = ("seq", "seq_part", "structure")
"""Ways to transfer CATH codes from a similar domain: by sequence, by the sequence of a part, or by structure."""

UNLABELLED = "none"
"""`Domain.cath_source` of a chain that was compared with all labelled domains and is similar to none of them."""

_ATOMS = (("N", "nitrogen"), ("CA", "carbon"), ("C", "carbon"), ("O", "oxygen"))


@dataclass(frozen=True, eq=False)
class Domain:
    """A protein domain or chain.

    Attributes
    ----------
    id : str
        Unique within a set, and valid as a file name: no slashes, unprintable characters or leading dot.
    sequence : str
        One letter per residue, length L.
    backbone : ndarray, shape (L, 5, 3), float32
        N, CA, C, O and the centre of mass of the side chain's heavy atoms (glycine: CA), Angstrom; NaN where atoms are
        missing. CA is always present.
    dssp : str
        8-class secondary structure, see `DSSP_CLASSES`, length L.
    residue_ids : tuple of str
        Author numbering with insertion code, length L.
    breaks : tuple of int
        Residues (from 0) that are not linked to the next one.
    cath, scop : tuple of str
        Codes like "1.10.490.10" and "a.1.1.2"; several for a chain of several domains, none if unknown.
    cluster : str
        Name of its cluster at 30% sequence identity; empty if unknown.
    cath_source : str
        Empty if the codes are the domain's own; one of `TRANSFERRED` if they come from a similar domain; `UNLABELLED`
        if there are no codes because no labelled domain is similar.
    near_held_out : bool
        Whether the fold is close to that of a protein kept outside the set for tests.
    same_as : str
        Id of an identical domain that should be preferred; empty if there is none.
    profiles : mapping of str to ColumnFrequencies
        Profiles by their kind, one of `PROFILE_KINDS`; unknown ones are missing.

    Raises
    ------
    InputError
        If the parts do not fit together or are not as described here.
    """

    id: str
    sequence: str
    backbone: np.ndarray
    dssp: str
    residue_ids: tuple[str, ...]
    breaks: tuple[int, ...] = ()
    cath: tuple[str, ...] = ()
    scop: tuple[str, ...] = ()
    cluster: str = ""
    cath_source: str = ""
    near_held_out: bool = False
    same_as: str = ""
    profiles: Mapping[str, ColumnFrequencies] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.sequence)
        lengths = len(self.backbone), len(self.dssp), len(self.residue_ids)
        if lengths != (n, n, n):
            raise self._refused(
                f"has {n} residues, but backbone, dssp and residue_ids have {lengths}: give each {n}."
            )
        if not can_name_a_file(self.id):
            raise self._refused(
                "has an id that is not a valid file name: give letters, digits, '_' or '-'."
            )
        if not set(self.sequence) <= set(AMINO_ACIDS):
            raise self._refused(f"has other residues than {AMINO_ACIDS}: use these letters.")
        if not set(self.dssp) <= set(DSSP_CLASSES):
            raise self._refused(f"has other dssp classes than {DSSP_CLASSES}: use these letters.")
        if self.backbone.shape != (n, 5, 3):
            shape = self.backbone.shape
            raise self._refused(f"has a backbone of shape {shape}: give one of {(n, 5, 3)}.")
        if np.isinf(self.backbone).any() or np.isnan(self.ca).any():
            raise self._refused(
                "has infinite coordinates or a residue without CA: give all CA, NaN for other atoms."
            )
        if any(len(number.split()) != 1 for number in self.residue_ids):
            raise self._refused("has residue_ids that are empty or contain spaces: give words.")
        if not all(0 <= i < n - 1 for i in self.breaks):
            raise self._refused(
                f"has breaks {self.breaks}: give numbers from 0 to {n - 2}, residues that are not the last."
            )
        sources = TRANSFERRED if self.cath else (UNLABELLED,)
        if self.cath_source not in ("", *sources):
            raise self._refused(
                f"has the cath_source {self.cath_source!r} and {len(self.cath)} codes: "
                f"give {', '.join(sources)} or nothing."
            )
        for kind, profile in self.profiles.items():
            if kind not in PROFILE_KINDS or len(profile) != n:
                raise self._refused(
                    f"has {n} residues and a profile {kind!r} of {len(profile)}: "
                    f"give one of its length and of the kind {' or '.join(PROFILE_KINDS)}."
                )

    def _refused(self, what: str) -> InputError:
        return InputError(f"Domain {self.id!r} {what}")

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def ca(self) -> np.ndarray:
        """C-alpha positions (L, 3), float32, Angstrom."""
        return self.backbone[:, 1]

    @property
    def segments(self) -> np.ndarray:
        """Start and end (exclusive) of each unbroken segment, shape (n, 2)."""
        ends = np.array([0, *sorted(i + 1 for i in set(self.breaks)), len(self)])
        return np.stack([ends[:-1], ends[1:]], axis=1)

    @property
    def rg_ratio(self) -> float:
        """Radius of gyration of the C-alpha atoms over that of a globule of this length, 2.2 L^0.38 Angstrom.

        The globule is that of Skolnick et al. (J. Mol. Biol. 265, 217, 1997).
        """
        spread = ((self.ca - self.ca.mean(axis=0)) ** 2).sum(axis=1).mean()
        return float(np.sqrt(spread) / (2.2 * len(self) ** 0.38))

    @cached_property
    def contacts(self) -> np.ndarray:
        """Number of contacts of each residue, shape (L,), int64; see `openmm_nemo.geometry.similarity.contacts`."""
        pairs = contacts(torch.from_numpy(np.ascontiguousarray(self.ca)))
        return (pairs.sum(0) + pairs.sum(1)).numpy()

    def window(self, start: int, length: int) -> "Domain":
        """The ``length`` residues from ``start`` on."""
        stop = start + length
        # A part of a checked domain needs no check.
        part = object.__new__(Domain)
        vars(part).update(
            {name: vars(self)[name] for name in self.__dataclass_fields__},
            sequence=self.sequence[start:stop],
            backbone=self.backbone[start:stop],
            dssp=self.dssp[start:stop],
            residue_ids=self.residue_ids[start:stop],
            breaks=tuple(i - start for i in self.breaks if start <= i < stop - 1),
            profiles={kind: profile[start:stop] for kind, profile in self.profiles.items()},
        )
        return part


def domain_of(structure: Structure) -> Domain:
    """Domain of a structure that was read from a file; its id consists of the file's name and the chain."""
    return Domain(
        id="_".join(filter(None, (structure.name, structure.chain))),
        sequence=structure.sequence,
        backbone=structure.backbone.astype(np.float32),
        dssp=secondary_structure(structure.sequence, structure.backbone, structure.breaks),
        residue_ids=structure.residue_ids,
        breaks=structure.breaks,
    )


def profiles_of(domains: Iterable[Domain], kind: str) -> dict[str, np.ndarray]:
    """Profiles of one kind, shape (L, 20), float32, by the id of the domain; domains without one are left out."""
    return {
        domain.id: domain.profiles[kind].profile for domain in domains if kind in domain.profiles
    }


def secondary_structure(sequence: str, backbone: np.ndarray, breaks: tuple[int, ...] = ()) -> str:
    """8-class DSSP (Kabsch & Sander 1983), by mdtraj.

    Parameters
    ----------
    sequence : str
        Length L.
    backbone : ndarray, shape (L, 5, 3)
        N, CA, C, O and side-chain centre, Angstrom.
    breaks : tuple of int
        Residues (from 0) that are not linked to the next one.

    Returns
    -------
    str
        Letters of `DSSP_CLASSES`, length L; "-" also where an atom is missing.
    """
    topology = md.Topology()
    complete = np.isfinite(backbone[:, :4]).all(axis=(1, 2))
    for number, letter in enumerate(sequence):
        # Start a new chain, or a C that is not linked to N would determine the place of N's hydrogen.
        if number == 0 or number - 1 in breaks or not complete[number - 1]:
            chain = topology.add_chain()
        if complete[number]:
            residue = topology.add_residue(THREE_LETTER[letter], chain, number + 1)
            for name, element in _ATOMS:
                topology.add_atom(name, getattr(md.element, element), residue)
    classes = np.full(len(sequence), "-")
    if complete.any():
        xyz = backbone[complete, :4].reshape(1, -1, 3) / 10
        found = md.compute_dssp(md.Trajectory(xyz, topology), simplified=False)[0]
        classes[complete] = np.where(found == " ", "-", found)
    return "".join(classes)
