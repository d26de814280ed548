"""Frames in which atoms are placed."""

import pytest
import torch

from openmm_nemo.geometry import residue_frames
from tests.helpers import normal, random_chain, random_rotation
from tests.tolerances import assert_close


def frames_of(x):
    """Frames of single chains, (..., L, 3) to (..., L, 3, 3)."""
    return residue_frames(x.unsqueeze(0), torch.ones_like(x[None, :, 0]))[0]


@pytest.mark.parametrize("length", [3, 4, 30])
def test_frames_are_orthonormal_and_left_handed_everywhere(length):
    # u, n, n x u in this order, as the paper writes them: the product of the first two is minus the third.
    frames = frames_of(random_chain(length))
    identity = torch.eye(3, dtype=torch.float64).expand(length, 3, 3)
    assert_close(frames.mT @ frames, identity, "rounding")
    assert_close(torch.linalg.det(frames), -torch.ones(length, dtype=torch.float64), "rounding")


def test_inner_frames_follow_their_definition_and_the_ends_borrow():
    x = random_chain(5)
    frames = frames_of(x)
    for i in range(1, 4):
        before = x[i] - x[i - 1]
        u = before / before.norm()
        n = torch.linalg.cross(u, x[i + 1] - x[i])
        n = n / n.norm()
        expected = torch.stack([u, n, torch.linalg.cross(n, u)], dim=-1)
        assert_close(frames[i], expected, "rounding")
    assert_close(frames[0], frames[1], "rounding")
    last = x[4] - x[3]
    assert_close(frames[4, :, 0], last / last.norm(), "rounding")
    assert_close(frames[4, :, 1], frames[3, :, 1], "rounding")


def test_frames_turn_with_the_chain():
    x, q, shift = random_chain(9), random_rotation(), normal(3)
    assert_close(frames_of(x @ q.T + shift), q @ frames_of(x), "rounding")


def test_padding_does_not_count():
    lengths = [9, 4, 3, 2, 1]
    x = 30 * normal(5, 9, 3)
    mask = torch.zeros(5, 9, dtype=torch.float64)
    for k, length in enumerate(lengths):
        x[k, :length] = random_chain(length, seed=10 * k)
        mask[k, :length] = 1
    frames = residue_frames(x, mask)
    for k, length in enumerate(lengths):
        assert_close(frames[k, :length], frames_of(x[k, :length]), "rounding")


def test_what_is_not_defined_is_zero():
    pair = frames_of(random_chain(2))
    assert pair[..., 0].norm(dim=-1).tolist() == pytest.approx([1, 1])
    assert (pair[..., 1:] == 0).all()
    assert (frames_of(random_chain(1)) == 0).all()
    line = frames_of(torch.arange(5.0)[:, None] * torch.tensor([3.8, 0, 0]))
    assert_close(line[..., 0], torch.tensor([[1.0, 0, 0]]).expand(5, 3), "rounding")
    assert (line[..., 1:] == 0).all()
