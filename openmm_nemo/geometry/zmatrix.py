"""Internal coordinates of any molecule without rings: bonds, angles and dihedrals along a tree, and back.

Layout. As for chains (`openmm_nemo.geometry.internal`), row k of every (N, 3) array holds the length, the angle and the
dihedral that place one atom from three that were placed before it; the six numbers of the first three rows that would
place the molecule in space are zero. The rows are in the order in which atoms are placed, not in that of the molecule.

Of the atoms that turn together about a bond, only the first has a torsion. The dihedrals of the others are relative to
it, so that they are as stiff as angles, and few coordinates are soft.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_nemo.errors import InputError
from openmm_nemo.geometry.vectors import cross, dot, length, unit

STRAIGHT = 0.2
"""Smallest sine of an angle between three atoms from which a fourth one is placed by a dihedral."""


@dataclass(frozen=True, eq=False)
class ZMatrix:
    """Which atoms place which; made by `z_matrix`.

    Attributes
    ----------
    atoms : Tensor, shape (N,), int64
        The atom that each row places.
    references : Tensor, shape (N, 3), int64
        The rows of the atoms to which its bond, angle and dihedral are measured; the row itself where there is none.
    relative_to : Tensor, shape (N,), int64
        The row whose dihedral is subtracted from its own; the row itself where there is none.
    levels : tuple of tuple of int
        First row and end of each set of rows after the third that only need rows before them.
    torsions : tuple of int
        Rows whose dihedral is a rotation about a bond. All other coordinates are stiff.
    """

    atoms: Tensor
    references: Tensor
    relative_to: Tensor
    levels: tuple[tuple[int, int], ...]
    torsions: tuple[int, ...]

    def internal(self, x: Tensor) -> Tensor:
        """Internal coordinates (..., N, 3) of positions ``x (..., N, 3)``: lengths in their unit, angles in radian."""
        placed = x[..., self.atoms, :]
        bond, angle, dihedral = (placed[..., rows, :] for rows in self.references.unbind(1))
        u, v, w = placed - bond, angle - bond, angle - dihedral
        b = length(u)
        a = torch.atan2(length(cross(u, v)), dot(u, v))
        axis = -unit(v)
        first, second = cross(w, axis), cross(axis, u)
        d = torch.atan2(dot(cross(first, second), axis), dot(first, second))
        d = d - self._first_dihedrals(d)
        return torch.stack([b, a, wrapped(d)], dim=-1) * self.present.to(b)

    def cartesian(self, z: Tensor) -> Tensor:
        """Positions (..., N, 3), in the order of the molecule, from internal coordinates ``z (..., N, 3)``.

        The first atom is at the origin, the second on the x axis, the third in the plane of x and y.
        """
        d = z[..., 2] + self._first_dihedrals(z[..., 2])
        zero = torch.zeros_like(z[..., 0, 0])
        x = torch.stack([zero, zero, zero], dim=-1).unsqueeze(-2)
        x = torch.cat([x, torch.stack([z[..., 1, 0], zero, zero], dim=-1).unsqueeze(-2)], dim=-2)
        bond, angle, _ = self.references[2].tolist()
        u = unit(x[..., bond, :] - x[..., angle, :])
        across = torch.stack([zero, zero + 1, zero], dim=-1)
        third = _turned(z[..., 2, 0], z[..., 2, 1], u, across)
        x = torch.cat([x, (x[..., bond, :] + third).unsqueeze(-2)], dim=-2)
        for start, end in self.levels:
            b, a = z[..., start:end, 0], z[..., start:end, 1]
            bonds, angles, dihedrals = (
                x[..., rows, :] for rows in self.references[start:end].unbind(1)
            )
            u = unit(bonds - angles)
            n = unit(cross(angles - dihedrals, u))
            turn = d[..., start:end].unsqueeze(-1)
            direction = torch.cos(turn) * cross(n, u) + torch.sin(turn) * n
            x = torch.cat([x, bonds + _turned(b, a, u, direction)], dim=-2)
        return x[..., self.atoms.argsort(), :]

    def log_volume(self, z: Tensor) -> Tensor:
        """log|det dx/dz| (...), where x includes the motion of the whole molecule: sum of 2 log b + log sin a.

        The first bond counts as 2 log b, the first angle as log sin a (Go & Scheraga, Macromolecules 9, 535, 1976).
        """
        return 2 * torch.log(z[..., 1:, 0]).sum(-1) + torch.log(torch.sin(z[..., 2:, 1])).sum(-1)

    @property
    def present(self) -> Tensor:
        """The 3 N - 6 coordinates that there are, (N, 3), bool."""
        present = torch.ones(len(self.atoms), 3, dtype=torch.bool)
        present[0], present[1, 1:], present[2, 2] = False, False, False
        return present

    @property
    def stiff(self) -> Tensor:
        """The coordinates that are not among the torsions, (N, 3), bool."""
        stiff = self.present
        stiff[list(self.torsions), 2] = False
        return stiff

    def _first_dihedrals(self, d: Tensor) -> Tensor:
        """What the dihedrals of all rows (..., N) are relative to; zero where they are absolute."""
        alone = self.relative_to == torch.arange(len(self.atoms))
        return torch.where(alone, torch.zeros_like(d), d[..., self.relative_to])


def wrapped(angle: Tensor) -> Tensor:
    """Angles larger than -pi, up to pi."""
    return math.pi - torch.remainder(math.pi - angle, 2 * math.pi)


def _turned(b: Tensor, a: Tensor, u: Tensor, across: Tensor) -> Tensor:
    """Bond of length b at an angle a to the bond that comes along u, on the side of ``across``, normal to u."""
    b, a = b.unsqueeze(-1), a.unsqueeze(-1)
    return b * (torch.sin(a) * across - torch.cos(a) * u)


def z_matrix(
    bonds: Sequence[tuple[int, int]],
    heavy: Sequence[bool],
    x: Tensor,
    names: Sequence[str] | None = None,
) -> ZMatrix:
    """Choose the tree of a molecule.

    It grows from the middle of the molecule, over heavy atoms first, so that these are not placed by hydrogens. Atoms
    that would be placed by three atoms on a line at ``x`` are placed by others.

    Parameters
    ----------
    bonds : sequence of (int, int)
        Pairs of atoms.
    heavy : sequence of bool, length N
        Whether each atom is heavier than hydrogen.
    x : Tensor, shape (N, 3)
        Some positions, of any unit.
    names : sequence of str, length N, optional
        What messages call the atoms. Default: "atom 0", ...

    Returns
    -------
    ZMatrix

    Raises
    ------
    InputError
        If there are fewer than three atoms; if an atom has no path of bonds to the first one, or atoms form a ring; or
        if the neighbours of an atom are on a line.
    """
    n = len(heavy)
    if n < 3:
        raise InputError(f"The molecule has {n} atoms: internal coordinates need three or more.")
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for i, j in bonds:
        neighbours[i].append(j)
        neighbours[j].append(i)
    names = names or [f"atom {atom}" for atom in range(n)]
    _check_tree(neighbours, names)
    for row in neighbours:
        row.sort(key=lambda atom: (not heavy[atom], atom))
    return _Growing(neighbours, heavy, x, names).grow()


def _check_tree(neighbours: list[list[int]], names: Sequence[str]) -> None:
    seen, waiting = {0: -1}, [0]
    while waiting:
        atom = waiting.pop()
        for other in neighbours[atom]:
            if other == seen[atom]:
                continue
            if other in seen:
                raise InputError(
                    f"A ring contains the bond between {names[atom]} and {names[other]}: internal coordinates are for "
                    "molecules without rings."
                )
            seen[other] = atom
            waiting.append(other)
    for atom in range(len(neighbours)):
        if atom not in seen:
            raise InputError(
                f"No path of bonds leads from {names[0]} to {names[atom]}: give one molecule, with all of its bonds."
            )


def _distances(neighbours: list[list[int]], start: int) -> dict[int, int]:
    """Number of bonds from an atom to all others."""
    found, waiting = {start: 0}, [start]
    for atom in waiting:
        for other in neighbours[atom]:
            if other not in found:
                found[other] = found[atom] + 1
                waiting.append(other)
    return found


class _Growing:
    """The tree while atoms are added to it; atoms have their numbers in the molecule."""

    def __init__(
        self,
        neighbours: list[list[int]],
        heavy: Sequence[bool],
        x: Tensor,
        names: Sequence[str],
    ) -> None:
        self.neighbours, self.heavy, self.x, self.names = neighbours, heavy, x, names
        self.parent: dict[int, int] = {}
        self.references: dict[int, tuple[int, ...]] = {}
        self.groups: dict[tuple[int, int], tuple[int, int]] = {}
        self.relative_to: dict[int, int] = {}
        self.torsions: list[int] = []

    def grow(self) -> ZMatrix:
        inner = [atom for atom, others in enumerate(self.neighbours) if len(others) > 1]
        root = min(
            inner,
            key=lambda atom: (
                not self.heavy[atom],
                max(_distances(self.neighbours, atom).values()),
            ),
        )
        second = self.neighbours[root][0]
        self.references[root] = ()
        self.parent[second], self.references[second] = root, (root,)
        third, bond = self._third(root, second)
        self.parent[third] = bond
        self.references[third] = (bond, second if bond == root else root)
        for wanted in (True, False):
            for atom in self._reached(root):
                if atom not in self.references and self.heavy[atom] is wanted:
                    self._place(atom)
        return self._finished()

    def _third(self, root: int, second: int) -> tuple[int, int]:
        """The third atom and the one of the first two to which it is bound."""
        candidates = [
            (atom, bond)
            for bond, other in ((root, second), (second, root))
            for atom in self.neighbours[bond]
            if atom != other
        ]
        return min(candidates, key=lambda pair: (not self.heavy[pair[0]], pair[1] != root))

    def _reached(self, root: int) -> list[int]:
        """All atoms, from near the root to far away; sets their parents."""
        order = [root]
        for atom in order:
            for other in self.neighbours[atom]:
                if other != self.parent.get(atom):
                    self.parent.setdefault(other, atom)
                    order.append(other)
        return order

    def _place(self, atom: int) -> None:
        bond = self.parent[atom]
        angle = self.parent.get(bond, self._second())
        if (bond, angle) in self.groups:
            dihedral, first = self.groups[bond, angle]
            self.relative_to[atom] = first
        else:
            dihedral = self._dihedral(atom, bond, angle)
            if dihedral not in self.neighbours[bond]:
                self.groups[bond, angle] = dihedral, atom
                self.torsions.append(atom)
        self.references[atom] = bond, angle, dihedral

    def _second(self) -> int:
        """The second atom, by which the angles of what is bound to the root are measured."""
        return next(atom for atom, others in self.references.items() if len(others) == 1)

    def _dihedral(self, atom: int, bond: int, angle: int) -> int:
        """A placed atom that is not on a line with the two others: from farther up the tree, or a neighbour."""
        above = self.parent.get(angle)
        candidates = [] if above is None or above == bond else [above]
        candidates += [other for other in self.neighbours[bond] if other not in (angle, atom)]
        candidates += [other for other in self.neighbours[angle] if other != bond]
        for other in candidates:
            if other in self.references and self._sine(bond, angle, other) > STRAIGHT:
                return other
        raise InputError(
            f"No dihedral can place {self.names[atom]}: the atoms around {self.names[bond]} and {self.names[angle]} "
            "are on a line."
        )

    def _sine(self, bond: int, angle: int, other: int) -> float:
        if (
            other in self.neighbours[bond]
        ):  # an improper dihedral is about the bond from angle to bond, too
            v, w = self.x[angle] - self.x[bond], self.x[other] - self.x[angle]
        else:
            v, w = self.x[bond] - self.x[angle], self.x[other] - self.x[angle]
        return float(length(cross(unit(v), unit(w))))

    def _finished(self) -> ZMatrix:
        """Rows in the order of their levels."""
        level: dict[int, int] = {}
        for k, (atom, others) in enumerate(self.references.items()):
            level[atom] = k if k < 3 else 1 + max(2, *(level[other] for other in others))
        order = sorted(level, key=lambda atom: level[atom])
        row = {atom: k for k, atom in enumerate(order)}
        sizes: defaultdict[int, int] = defaultdict(int)
        for atom in order[3:]:
            sizes[level[atom]] += 1
        levels, start = [], 3
        for size in sizes.values():
            levels.append((start, start + size))
            start += size
        references = [
            [row[other] for other in self.references[atom]]
            + [row[atom]] * (3 - len(self.references[atom]))
            for atom in order
        ]
        return ZMatrix(
            torch.tensor(order),
            torch.tensor(references),
            torch.tensor([row[self.relative_to.get(atom, atom)] for atom in order]),
            tuple(levels),
            tuple(row[atom] for atom in self.torsions),
        )
