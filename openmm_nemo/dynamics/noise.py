"""Counter-based Gaussian noise: Philox 4x32-10 (Salmon et al., SC 2011; nemo.md 5.7).

Every number is a function of seed, step, chain, bead and stream alone, so that a simulation draws the same numbers in
PyTorch and in OpenMM, on any platform, alone or in a batch, from the start or after a restart.
"""

import math
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

CARTESIAN_STREAM = 0
INTERNAL_STREAM = 1
ACCEPTANCE_STREAM = 2
START_STREAM = 3
EXCHANGE_STREAM = 4
RIGID_STREAM = 5

NOISE_BLOCK = 64
"""Number of steps whose noise is drawn at once."""

_Index = TypeVar("_Index", int, Tensor)

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


def _multiply(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low word of the 64-bit product of 32-bit words, without leaving the range of int64."""
    low = a * (b & 0xFFFF)
    high = a * (b >> 16)
    return (high + (low >> 16)) >> 16, (((high & 0xFFFF) << 16) + low) & _WORD


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> Tensor:
    """Ten rounds of Philox 4x32.

    Parameters
    ----------
    counter : four Tensors, int64, broadcastable
        Words of the counter, each in [0, 2^32).
    key : two Tensors, int64, broadcastable
        Words of the key, each in [0, 2^32).

    Returns
    -------
    Tensor, shape (..., 4), int64
        Four independent random words in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return torch.stack(torch.broadcast_tensors(c0, c1, c2, c3), dim=-1)


def replica_seed(seed: int, replica: _Index) -> _Index:
    """Seed of a replica: the seed is the first word of Philox's key, and the replica, counted from 0, the second."""
    return seed + (replica << 32)


def langevin_noise(
    seed: Tensor, chain: Tensor, first_step: int, n_steps: int, n_beads: int
) -> Tensor:
    """Standard normal numbers for consecutive steps.

    Parameters
    ----------
    seed : Tensor, shape (B,), int64
        Seed of each chain, non-negative.
    chain : Tensor, shape (B,), int64
        Number of each chain within its system.
    first_step, n_steps : int
        Steps first_step ... first_step + n_steps - 1.
    n_beads : int
        L.

    Returns
    -------
    Tensor, shape (n_steps, B, L, 2, 3), float64
        For the Cartesian step (index 0) and for the internal step (index 1: b~, a~, d).
    """
    device = seed.device
    step = torch.arange(first_step, first_step + n_steps, device=device).view(-1, 1, 1, 1)
    bead = torch.arange(n_beads, device=device).view(1, 1, -1, 1)
    stream = torch.tensor([CARTESIAN_STREAM, INTERNAL_STREAM], device=device)
    member = seed.view(1, -1, 1, 1)
    words = philox(
        (step & _WORD, chain.view(1, -1, 1, 1), bead, stream), (member & _WORD, member >> 32)
    )
    return _normal(words)


def _uniform(words: Tensor) -> Tensor:
    """Centres of 2^32 equal cells of (0, 1), from words."""
    return (words.to(torch.float64) + 0.5) * 2.0**-32


def _normal(words: Tensor) -> Tensor:
    """Three standard normal numbers from each four words (..., 4), by Box-Muller; shape (..., 3)."""
    # Never log(0). The sine of the second pair is not used.
    uniform = _uniform(words)
    radius = torch.sqrt(-2 * torch.log(uniform[..., 0::2]))
    angle = 2 * math.pi * uniform[..., 1::2]
    first, second = radius.unbind(-1)
    return torch.stack(
        [
            first * torch.cos(angle[..., 0]),
            first * torch.sin(angle[..., 0]),
            second * torch.cos(angle[..., 1]),
        ],
        dim=-1,
    )


def acceptance_numbers(seed: Tensor, first_step: int, n_steps: int) -> Tensor:
    """Uniform numbers in (0, 1) that decide on sub-steps, see `openmm_nemo.dynamics.metropolis`.

    Parameters
    ----------
    seed : Tensor, shape (S,), int64
        Seed of each system, non-negative.
    first_step, n_steps : int
        Steps first_step ... first_step + n_steps - 1.

    Returns
    -------
    Tensor, shape (n_steps, S, 2), float64
        For the Cartesian sub-step (index 0) and for the internal one (index 1).
    """
    step = torch.arange(first_step, first_step + n_steps, device=seed.device).view(-1, 1)
    zero = torch.zeros_like(step)
    words = philox((step & _WORD, zero, zero, zero + ACCEPTANCE_STREAM), (seed & _WORD, seed >> 32))
    return _uniform(words[..., :2])


def start_numbers(seed: Tensor, n_beads: int, chain: int = 0) -> Tensor:
    """Uniform numbers in (0, 1) from which initial positions are drawn.

    Parameters
    ----------
    seed : Tensor, shape (B,), int64
        Seed of each chain, non-negative.
    n_beads : int
        L.
    chain : int
        Number of the chain within its system.

    Returns
    -------
    Tensor, shape (B, L), float64
    """
    return _start_numbers(seed, n_beads, chain)[..., 0]


def orientation_numbers(seed: int, chain: int) -> Tensor:
    """Uniform numbers in (0, 1), shape (3,), float64, from which the orientation of a chain in its system is drawn.

    Parameters
    ----------
    seed : int
        Seed of the system, non-negative.
    chain : int
        Number of the chain within the system.
    """
    # The words that start_numbers leaves.
    return _start_numbers(torch.tensor([seed]), 1, chain)[0, 0, 1:]


def _start_numbers(seed: Tensor, n_beads: int, chain: int) -> Tensor:
    bead = torch.arange(n_beads, device=seed.device).view(1, -1)
    zero = torch.zeros_like(bead)
    member = seed.view(-1, 1)
    words = philox((zero, zero + chain, bead, zero + START_STREAM), (member & _WORD, member >> 32))
    return _uniform(words)


def exchange_numbers(seed: int, steps: Tensor, n_pairs: int) -> Tensor:
    """Uniform numbers in (0, 1) that decide on exchanges of replicas, see `openmm_nemo.dynamics.exchange`.

    Parameters
    ----------
    seed : int
        Seed of the simulation, non-negative.
    steps : Tensor, shape (N,), int64
        After which exchanges are attempted.
    n_pairs : int
        Number of pairs of neighbours P.

    Returns
    -------
    Tensor, shape (N, P), float64
    """
    pair = torch.arange(n_pairs, device=steps.device)
    zero = torch.zeros_like(pair)
    words = philox(
        (steps.view(-1, 1) & _WORD, zero, pair, zero + EXCHANGE_STREAM),
        (zero + (seed & _WORD), zero + (seed >> 32)),
    )
    return _uniform(words[..., 0])


class RigidMoveNumbers(NamedTuple):
    """Random numbers of M rigid-body moves, float64.

    Attributes
    ----------
    chain, translation_size, rotation_size, acceptance : Tensor, shape (M,)
        Uniform in (0, 1): they choose the chain and the sizes of its translation and rotation, and decide.
    translation, rotation : Tensor, shape (M, 3)
        Standard normal.
    """

    chain: Tensor
    translation_size: Tensor
    rotation_size: Tensor
    acceptance: Tensor
    translation: Tensor
    rotation: Tensor


def rigid_move_numbers(seed: int, first_move: int, n_moves: int) -> RigidMoveNumbers:
    """Numbers of consecutive moves of chains as rigid bodies, see `openmm_nemo.engine.rigid_moves`.

    Parameters
    ----------
    seed : int
        Seed of the system, non-negative.
    first_move, n_moves : int
        Moves first_move ... first_move + n_moves - 1.
    """
    move = torch.arange(first_move, first_move + n_moves).view(-1, 1)
    part, zero = torch.arange(3), torch.zeros_like(move)
    words = philox(
        (move & _WORD, part, zero, zero + RIGID_STREAM),
        (zero + (seed & _WORD), zero + (seed >> 32)),
    )
    normal = _normal(words[:, 1:])
    return RigidMoveNumbers(*_uniform(words[:, 0]).unbind(-1), *normal.unbind(1))


class Noise:
    """Noise of a batch of chains, step by step; it is drawn in blocks.

    Parameters
    ----------
    seeds : Tensor, shape (B,), int64
        Seed of each chain, non-negative.
    n_beads : int
        L.
    chains : Tensor, shape (B,), int64, optional
        Number of each chain within its system. Default: 0.
    stop : int, optional
        End of the steps that will be requested (exclusive).
    """

    def __init__(
        self, seeds: Tensor, n_beads: int, chains: Tensor | None = None, stop: int | None = None
    ) -> None:
        self.seeds = seeds
        self.chains = torch.zeros_like(seeds) if chains is None else chains
        self.n_beads = n_beads
        self._stop = stop
        self._first = 0
        self._block = torch.empty(0)

    @classmethod
    def consecutive(cls, seed: int, x: Tensor, stop: int | None = None) -> "Noise":
        """Noise for independent chains at ``x (B, L, 3)``, with the seeds ``seed`` ... ``seed + B - 1``."""
        seeds = seed + torch.arange(x.shape[0], device=x.device)
        return cls(seeds, x.shape[1], stop=stop)

    def at(self, step: int) -> Tensor:
        """Standard normal numbers for a step, shape (B, L, 2, 3), float64, see `langevin_noise`."""
        row = step - self._first
        if not 0 <= row < len(self._block):
            size = NOISE_BLOCK if self._stop is None else min(NOISE_BLOCK, self._stop - step)
            self._first, row = step, 0
            self._block = langevin_noise(self.seeds, self.chains, step, max(size, 1), self.n_beads)
        return self._block[row]
