"""Coordinates in which a molecule has few soft directions: torsions on a torus; all others nearly normal."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_nemo.geometry.zmatrix import ZMatrix, wrapped


@dataclass(frozen=True, eq=False)
class Coordinates:
    """K dihedrals d and M whitened stiff coordinates w of N atoms, K + M = 3 N - 6.

    Lengths, angles and relative dihedrals of the z-matrix are ``centre + scale @ w``.

    Attributes
    ----------
    zmatrix : ZMatrix
    folds : tuple of int, length K
        2 or 3 where a rotation by 2 pi / fold only exchanges identical atoms, such as the hydrogens of a methyl group;
        else 1.
    centre : Tensor, shape (M,), float64
        Stiff coordinates at a minimum of the energy, Angstrom and radian.
    scale : Tensor, shape (M, M), float64
        Lower triangular.
    """

    zmatrix: ZMatrix
    folds: tuple[int, ...]
    centre: Tensor
    scale: Tensor

    def dihedrals(self, t: Tensor, turn: Tensor) -> Tensor:
        """Dihedrals (..., K), radian.

        Parameters
        ----------
        t : Tensor, shape (..., K)
            The dihedrals times their folds, modulo 2 pi: the same for exchanged atoms.
        turn : Tensor, shape (..., K), int64
            Which dihedral of a fold is meant, from 0 to fold - 1.
        """
        return wrapped((t + 2 * math.pi * turn.to(t)) / torch.tensor(self.folds).to(t))

    def folded(self, d: Tensor) -> Tensor:
        """The angles t (..., K) of dihedrals ``d (..., K)``, see `dihedrals`."""
        return wrapped(d * torch.tensor(self.folds).to(d))

    def cartesian(self, d: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and the volume element.

        Parameters
        ----------
        d : Tensor, shape (..., K)
            Dihedrals, radian.
        w : Tensor, shape (..., M)

        Returns
        -------
        x : Tensor, shape (..., N, 3), float64
            Angstrom.
        log_volume : Tensor, shape (...), float64
            log|det dx/d(d, w)|, where x includes the motion of the whole molecule; -inf where a length is not positive
            or an angle not between 0 and pi.
        """
        d, w = d.double(), w.double()
        z = torch.zeros(*w.shape[:-1], *self.zmatrix.present.shape, dtype=w.dtype)
        z[..., self.zmatrix.stiff] = self.centre + w @ self.scale.T
        z[..., list(self.zmatrix.torsions), 2] = d
        lengths, angles = z[..., 1:, 0], z[..., 2:, 1]
        possible = (
            (lengths > 0).all(-1) & (angles > 0).all(-1) & (angles < math.pi).all(-1)
        ).detach()
        # Gradients of logarithms that count for nothing must be finite, too.
        sound = torch.where(possible[..., None, None], z, torch.ones_like(z))
        log_volume = self.zmatrix.log_volume(sound) + torch.log(torch.diagonal(self.scale)).sum()
        return self.zmatrix.cartesian(z), torch.where(possible, log_volume, -math.inf)

    def internal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Dihedrals d (..., K) and w (..., M) of positions ``x (..., N, 3)``, Angstrom."""
        z, stiff = self.zmatrix.internal(x), self.zmatrix.stiff
        difference = z[..., stiff] - self.centre
        is_length = torch.tensor([True, False, False]).expand(stiff.shape)[stiff]
        difference = torch.where(is_length, difference, wrapped(difference))
        w = torch.linalg.solve_triangular(self.scale, difference.unsqueeze(-1), upper=False)
        return z[..., list(self.zmatrix.torsions), 2], w.squeeze(-1)
