"""Terms with fixed basis functions and the backbone, against sums in plain Python, and the densities they describe."""

import math

import numpy as np
import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies import TERMS
from openmm_nemo.energies import chain_basis as chain
from openmm_nemo.energies import pair_basis as pair
from tests.helpers import normal, random_chain
from tests.tolerances import assert_close

N = 6


def make(name: str) -> torch.nn.Module:
    return TERMS[name](NemoConfig.preset("tiny")).double()


def a_chain() -> torch.Tensor:
    """Six residues of which pairs are within the reach of all functions."""
    return random_chain(N, seed=3)


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def frame(x: np.ndarray, i: int) -> np.ndarray:
    """Axes of residue i: bisector, normal and their cross product (nemo.md, 3.1)."""
    before, after = unit(x[i] - x[i - 1]), unit(x[i + 1] - x[i])
    bisector, normal_ = unit(before - after), unit(np.cross(before, after))
    return np.stack([bisector, normal_, np.cross(bisector, normal_)])


def angle_and_dihedral(x: np.ndarray, j: int) -> tuple[float, float, float]:
    """Angle at j-1, the one before it, and the dihedral from j-3 to j."""
    u = [unit(x[j - k] - x[j - k - 1]) for k in range(3)]
    a, a_before = math.acos(-u[0] @ u[1]), math.acos(-u[1] @ u[2])
    n, n_before = np.cross(u[1], u[0]), np.cross(u[2], u[1])
    return a, a_before, math.atan2(u[2] @ n, n_before @ n)


def gauss(distance: float, centre: float, width: float) -> float:
    return math.exp(-(((distance - centre) / width) ** 2))


def pair_functions(distance: float, direction: np.ndarray) -> list[float]:
    radial = [gauss(distance, 3.5 + 18 * k / 23, 18 / 23) for k in range(24)]
    turned = [
        gauss(distance, centre, width) * component
        for centre, width in zip(pair.DIRECTION_CENTRES, pair.DIRECTION_WIDTHS, strict=True)
        for component in direction
    ]
    return radial + turned


def pair_direction(x: np.ndarray, i: int, j: int) -> tuple[float, np.ndarray]:
    """Distance and smooth direction of j in the frame of i."""
    distance = math.dist(x[i], x[j])
    if i in (0, len(x) - 1):
        return distance, np.zeros(3)
    squared_sine = np.sum(np.cross(unit(x[i] - x[i - 1]), unit(x[i + 1] - x[i])) ** 2)
    fade = distance / math.sqrt(distance**2 + 1) * squared_sine / (squared_sine + 0.01)
    return distance, fade * frame(x, i) @ unit(x[j] - x[i])


def chain_functions(a: float, a_before: float, d: float) -> list[float]:
    gaussians = [gauss(math.cos(a), centre, 0.18) for centre in chain.ANGLE_CENTRES]
    sines = math.sin(a) * math.sin(a_before)
    fade = sines / math.sqrt(sines**2 + 0.01)
    products = [
        fade**order * turn(order * d) * math.cos(multiple * a)
        for order in (1, 2, 3)
        for turn in (math.cos, math.sin)
        for multiple in (0, 1, 2)
    ]
    return gaussians + products


def test_pair_basis_is_the_sum_over_pairs():
    term, x = make("pair-basis"), a_chain()
    coefficients = normal(1, N, N, pair.N_FUNCTIONS, seed=1)
    expected = 0.0
    for i in range(N):
        for j in range(N):
            if abs(i - j) >= 3:
                values = pair_functions(*pair_direction(x.numpy(), i, j))
                expected += 0.5 * 0.5 * float(coefficients[0, i, j] @ torch.tensor(values).double())
    u = term(x[None], [coefficients], torch.ones(1, N))
    assert u.item() == pytest.approx(expected, rel=1e-5)  # centres are float32


def test_ranges_of_separation_have_scales():
    """Pairs 3 to 5, 6 to 11, 12 to 23, and 24 or more residues apart; the sum is that of what is in each range."""
    n, factors = 26, (0.5, 0.7, 1.1, 1.3)
    term, x = make("pair-basis"), 0.4 * random_chain(26, seed=4)
    coefficients, mask = normal(1, n, n, pair.N_FUNCTIONS, seed=1), torch.ones(1, n)
    separation = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    energies = []
    for low, high in ((3, 5), (6, 11), (12, 23), (24, 99)):
        chosen = ((separation >= low) & (separation <= high)).double()[None, :, :, None]
        energies.append(term(x[None], [coefficients * chosen], mask).item() / 0.5)
    assert min(map(abs, energies)) > 0.01
    set_scales(term, factors)
    expected = sum(c * u for c, u in zip(factors, energies, strict=True))
    assert term(x[None], [coefficients], mask).item() == pytest.approx(expected, rel=1e-6)


def set_scales(term: torch.nn.Module, factors: tuple[float, ...]) -> None:
    with torch.no_grad():
        term.scales.logarithms.copy_(torch.tensor(factors).log())


def test_scales_do_not_change_what_is_learnt_directly():
    for name in ("pair-basis", "chain-basis"):
        term, other = make(name), make(name)
        set_scales(other, tuple(3.0 for _ in other.scales()))
        x, mask = random_chain(12, seed=3)[None], torch.ones(1, 12).double()
        n = pair.N_FUNCTIONS if name == "pair-basis" else chain.N_FUNCTIONS
        coefficients = normal(1, 12, *([12] if name == "pair-basis" else []), n)
        share = (1.0,) if name == "pair-basis" else ()
        loss, same = (t.cross_entropy(x, coefficients, mask, *share) for t in (term, other))
        assert loss.equal(same)
        assert not term(x, [coefficients], mask).isclose(other(x, [coefficients], mask)).any()


def test_chain_basis_is_the_sum_over_residues_with_a_dihedral():
    term, x = make("chain-basis"), a_chain()
    coefficients = normal(1, N, chain.N_FUNCTIONS, seed=2)
    expected = sum(
        float(
            coefficients[0, j]
            @ torch.tensor(chain_functions(*angle_and_dihedral(x.numpy(), j))).double()
        )
        for j in range(3, N)
    )
    u = term(x[None], [coefficients], torch.ones(1, N))
    assert u.item() == pytest.approx(expected, rel=1e-5)
    set_scales(term, (1.7,))
    u = term(x[None], [coefficients], torch.ones(1, N))
    assert u.item() == pytest.approx(1.7 * expected, rel=1e-5)


def test_backbone_is_bonds_and_soft_cores():
    x = a_chain()
    x[5] = x[1] + (x[5] - x[1]) * 3.0 / (x[5] - x[1]).norm()  # an overlap of 1.2 Angstrom
    expected = sum(
        12 * (math.sqrt(1 + ((math.dist(x[j - 1], x[j]) - 3.8) / 0.3) ** 2) - 1)
        for j in range(1, N)
    )
    cores = [
        3 * max(0, 4.2 - math.dist(x[i], x[j])) ** 2 for i in range(N) for j in range(i + 3, N)
    ]
    assert sum(cores) >= 3 * 1.2**2 - 1e-9
    u = make("backbone")(x[None], [], torch.ones(1, N))
    assert u.item() == pytest.approx(expected + sum(cores), rel=1e-9)


def two_chains() -> tuple[torch.Tensor, torch.Tensor]:
    """Chains of six and four residues that interpenetrate; their last and first residues overlap."""
    x, y = random_chain(N, seed=3), random_chain(4, seed=5)
    return x, y - y[0] + x[-1] + torch.tensor([1.0, -1.5, 0.5])


def test_pair_basis_between_chains_is_the_sum_over_all_pairs_with_the_last_scale():
    term, (x, y) = make("pair-basis"), two_chains()
    set_scales(term, (0.5, 0.7, 1.1, 1.3))
    forth = normal(1, N, 4, pair.N_FUNCTIONS, seed=1)
    back = normal(1, 4, N, pair.N_FUNCTIONS, seed=2)
    expected = 0.0
    for first, second, coefficients in ((x, y, forth), (y, x, back)):
        for i in range(len(first)):
            for j in range(len(second)):
                # In a chain that ends with i's own neighbours: only i's frame counts.
                near = [*first.numpy(), second[j].numpy()]
                distance, direction = pair_direction(np.array(near), i, len(first))
                if i == len(first) - 1:
                    direction = np.zeros(3)
                values = torch.tensor(pair_functions(distance, direction)).double()
                expected += 0.5 * 1.3 * float(coefficients[0, i, j] @ values)
    u = term.between(x[None], y[None], [forth], [back])
    assert u.item() == pytest.approx(expected, rel=1e-5)


def test_backbone_between_chains_is_soft_cores_and_no_bond():
    x, y = two_chains()
    cores = [3 * max(0, 4.2 - math.dist(a, b)) ** 2 for a in x for b in y]
    assert sum(cores) > 1
    u = make("backbone").between(x[None], y[None], [], [])
    assert u.item() == pytest.approx(sum(cores), rel=1e-9)


def test_no_angle_or_dihedral_joins_two_chains():
    x, y = two_chains()
    mine, other = normal(1, N, chain.N_FUNCTIONS), normal(1, 4, chain.N_FUNCTIONS)
    assert make("chain-basis").between(x[None], y[None], [mine], [other]).eq(0).all()


def test_scales_of_chains_are_those_within_each_and_the_last_between_them():
    term = make("pair-basis")
    set_scales(term, (0.5, 0.7, 1.1, 1.3))
    scales = term.scale_of_chains([7, 30])
    assert scales[:7, :7].equal(term.scale_of_pairs(7))
    assert scales[7:, 7:].equal(term.scale_of_pairs(30))
    assert scales[:7, 7:].eq(term.scales()[-1]).all()
    assert scales.equal(scales.T)


def test_pairs_far_apart_have_no_energy_and_no_force():
    x = 45.0 * torch.arange(N).double()[:, None] * torch.tensor([1.0, 0.2, -0.3]).double()
    x = (x + normal(N, 3, seed=4))[None].requires_grad_()
    u = make("pair-basis")(x, [normal(1, N, N, pair.N_FUNCTIONS)], torch.ones(1, N))
    (gradient,) = torch.autograd.grad(u.sum(), x)
    assert u.abs().max() < 1e-12
    assert gradient.abs().max() < 1e-12


def test_densities_are_normalised_and_follow_the_coefficients():
    pairs, angles = make("pair-basis"), make("chain-basis")
    chains = [random_chain(40, seed=seed) for seed in range(3)]
    for term in (pairs, angles):
        term.fit_reference(chains)
    coefficients = normal(5, pair.N_FUNCTIONS, seed=5)
    separation = torch.tensor([3, 4, 20, 63, 100])
    log_p = pairs.log_density(coefficients, separation)
    assert log_p.shape == (5, 25, 24)
    assert_close(log_p.exp().sum((1, 2)), torch.ones(5).double(), "rounding")
    # Relative to no coefficients: -l . f, but for a constant.
    change = log_p - pairs.log_density(0 * coefficients, separation)
    distance = 3.5 + 18 * 7 / 23
    fade = distance / math.sqrt(distance**2 + 1)
    values = torch.tensor(
        [pair_functions(distance, fade * v.numpy()) for v in pairs.directions[:2]]
    ).double()
    assert_close(
        change[:, 7, 0] - change[:, 7, 1],
        coefficients @ (values[1] - values[0]),
        "finite_difference",
    )
    # Farther than all functions there is no energy, so that ratios to this bin are energies.
    energies = change[:, 24, 0] - change[:, 7, 0]
    assert_close(energies.float(), (coefficients @ values[0]).float(), "rounding")
    assert change[:, 24].std(1).max() == 0

    coefficients = normal(7, chain.N_FUNCTIONS, seed=6)
    log_p = angles.log_density(coefficients)
    assert log_p.shape == (7, 288)
    assert_close(log_p.exp().sum(1), torch.ones(7).double(), "rounding")


def test_directions_cover_the_sphere():
    directions = pair.sphere(24)
    assert_close(directions.norm(dim=1), torch.ones(24), "rounding")
    assert directions.mean(0).abs().max() < 0.05
    np.testing.assert_allclose(directions.T @ directions / 24, np.eye(3) / 3, atol=0.02)


def test_reference_of_pairs_counts_each_separation():
    term = make("pair-basis")
    chains = [random_chain(70, seed=1), random_chain(5, seed=2)]
    term.fit_reference(chains)
    counts = np.ones((64, 25))
    for x in chains:
        for i in range(len(x)):
            for j in range(len(x)):
                nearest = round((math.dist(x[i], x[j]) - 3.5) / (18 / 23))
                counts[min(abs(i - j), 63), min(max(nearest, 0), 24)] += 1
    expected = np.log(counts / counts.sum(1, keepdims=True))
    np.testing.assert_allclose(term.reference, expected, rtol=1e-6)


def angle_bin(a: float, d: float) -> int:
    low, high = math.radians(70), math.radians(170)
    row = min(max(round((a - low) / (high - low) * 11), 0), 11)
    return 24 * row + int((d + math.pi) / (2 * math.pi) * 24)


def test_reference_of_the_chain_counts_angles_and_dihedrals():
    term = make("chain-basis")
    chains = [random_chain(60, seed=1), random_chain(4, seed=2)]
    term.fit_reference(chains)
    counts = np.ones(288)
    for x in chains:
        for j in range(3, len(x)):
            a, _, d = angle_and_dihedral(x.numpy(), j)
            counts[angle_bin(a, d)] += 1
    np.testing.assert_allclose(term.reference, np.log(counts / counts.sum()), rtol=1e-6)


def test_probability_within_a_distance_by_hand():
    term = make("pair-basis")
    # Without coefficients or data, all 25 bins are as likely: six below 8 Angstrom and a part of the next.
    zero = torch.zeros(1, pair.N_FUNCTIONS, dtype=torch.float64)
    width = 18 / 23
    part = (8 - (3.5 + 5.5 * width)) / width
    assert 0 < part < 1
    separation = torch.tensor([9])
    assert term.probability_within(8, zero, separation).item() == pytest.approx((6 + part) / 25)
    assert term.probability_within(0, zero, separation).item() == 0
    term.fit_reference([random_chain(90, seed=7)])
    coefficients = normal(4, pair.N_FUNCTIONS, seed=8)
    separation = torch.tensor([3, 9, 70, 62])
    density = term.log_density(coefficients, separation).exp().sum(2)
    for distance, whole in ((3.5 + 1.5 * width, 2), (3.5 + 20.5 * width, 21)):
        found = term.probability_within(distance, coefficients, separation)
        assert_close(found, density[:, :whole].sum(1), "rounding")


def test_cross_entropy_of_pairs_by_hand():
    term, x = make("pair-basis"), 1.3 * a_chain()  # some pairs are near, some far
    term.fit_reference([random_chain(40, seed=7)])
    coefficients = normal(1, N, N, pair.N_FUNCTIONS, seed=8)
    total = weight = 0.0
    for i in range(1, N - 1):
        for j in range(N):
            if abs(i - j) < 3:
                continue
            distance, direction = pair_direction(x.numpy(), i, j)
            p = term.log_density(coefficients[:, i, j], torch.tensor([abs(i - j)]))[0].exp()
            p[14:] *= 0.3  # bins beyond 14 Angstrom
            nearest = int(np.argmax(term.directions.numpy() @ direction))
            radial = min(round((distance - 3.5) / (18 / 23)), 24)
            w = 1.0 if radial < 14 else 0.3
            surprise = -math.log(p[radial, nearest] / p.sum())
            total, weight = total + w * surprise, weight + w
    assert 1.8 < weight < 6  # of both kinds
    loss = term.cross_entropy(x[None], coefficients, torch.ones(1, N).double(), 1.0)
    assert loss.item() == pytest.approx(total / weight, rel=1e-9)


def test_cross_entropy_of_the_chain_by_hand():
    term, x = make("chain-basis"), a_chain()
    term.fit_reference([random_chain(40, seed=7)])
    coefficients = normal(1, N, chain.N_FUNCTIONS, seed=9)
    expected = 0.0
    for j in range(3, N):
        a, _, d = angle_and_dihedral(x.numpy(), j)
        expected -= float(term.log_density(coefficients[0, j])[angle_bin(a, d)]) / 3
    loss = term.cross_entropy(x[None], coefficients, torch.ones(1, N).double())
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_weights_of_the_bins_do_not_become_an_energy():
    """Where pairs are as in the reference, the best coefficients are zero, although far pairs count less."""
    term, n, apart = make("pair-basis"), 60, 20
    x = random_chain(n, seed=21)
    framed = [(i, j) for i in range(1, n - 1) for j in (i - apart, i + apart) if 0 <= j < n]
    bins = term.bins(torch.stack([(x[i] - x[j]).norm() for i, j in framed]))
    assert 3 < (bins < 14).sum() < len(bins) - 3
    seen = torch.bincount(bins, minlength=25)
    term.reference[apart] = (seen / seen.sum()).clamp_min(1e-30).log()
    coefficients = torch.zeros(1, n, n, pair.N_FUNCTIONS, dtype=torch.float64, requires_grad=True)
    loss = term.cross_entropy(x[None], coefficients, torch.ones(1, n).double(), 1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), coefficients)
    i, j = torch.tensor(framed).T
    gradient = gradient[0, i, j, : pair.N_RADIAL]
    assert gradient.sum(0).abs().max() < 1e-6 * gradient.abs().sum(0).max()


@pytest.mark.parametrize("name", ["pair-basis", "chain-basis"])
def test_without_coefficients_the_cross_entropy_is_that_of_the_reference(name):
    """A model that says nothing is as good as the reference; learning what was seen is better."""
    term = make(name)
    x = random_chain(12, seed=11)
    term.fit_reference([x])
    shape = [1, 12, *([12] if name == "pair-basis" else [])]
    n = pair.N_FUNCTIONS if name == "pair-basis" else chain.N_FUNCTIONS
    coefficients = torch.zeros(*shape, n, dtype=torch.float64, requires_grad=True)
    share = (1.0,) if name == "pair-basis" else ()
    loss = term.cross_entropy(x[None], coefficients, torch.ones(1, 12).double(), *share)
    (gradient,) = torch.autograd.grad(loss.sum(), coefficients)
    better = term.cross_entropy(
        x[None], coefficients - gradient, torch.ones(1, 12).double(), *share
    )
    assert better.item() < loss.item()


def test_share_of_the_pairs_is_drawn():
    term, x = make("pair-basis"), random_chain(30, seed=12)
    coefficients = normal(1, 30, 30, pair.N_FUNCTIONS, seed=13)
    torch.manual_seed(0)
    some, others = (
        term.cross_entropy(x[None], coefficients, torch.ones(1, 30).double(), 0.3) for _ in range(2)
    )
    torch.manual_seed(0)
    again = term.cross_entropy(x[None], coefficients, torch.ones(1, 30).double(), 0.3)
    assert some.equal(again)
    assert not some.equal(others)


@pytest.mark.parametrize("name", ["pair-basis", "chain-basis"])
def test_an_untrained_head_gives_no_energy(name):
    config = NemoConfig.preset("tiny")
    head = TERMS[name].make_head(config, 8, 4)
    head.initialise()
    (values,) = head(normal(1, 8, 5).float(), normal(1, 4, 5, 5).float(), torch.ones(1, 5))
    assert values.eq(0).all()


@pytest.mark.parametrize("name", ["pair-basis", "chain-basis"])
def test_the_grid_has_no_denormal_numbers(name):
    """They make products of matrices ten times slower."""
    grid = TERMS[name](NemoConfig.preset("fold")).grid
    assert ((grid == 0) | (grid.abs() >= torch.finfo(grid.dtype).tiny)).all()
