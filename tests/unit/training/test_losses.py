"""Every loss against loops over residues, published programs, or numbers by hand."""

import math
from dataclasses import replace

import mdtraj as md
import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_nemo.config import NemoConfig
from openmm_nemo.data import read_structure
from openmm_nemo.data.batches import Batch, Example, collate
from openmm_nemo.data.sets.domains import domain_of
from openmm_nemo.engine.trajectory import atom_topology
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.training import losses
from openmm_nemo.training.prediction import RolloutSettings, predict
from tests.helpers import normal, raises, random_chain, random_rotation

TRP_CAGE = "examples/data/1l2y.pdb"
LENGTHS = (20, 13)


@pytest.fixture(scope="module")
def prediction(batch: Batch) -> losses.Prediction:
    """Chains that have nothing to do with the data, with rubbish at padding."""
    x = random_chain(2, 20, seed=1).float()
    states = random_chain(3, 2, 20, seed=2).float()
    noise = normal(2, 20, 5, 3, seed=3).float()
    return losses.Prediction(
        x0=random_chain(2, 20, seed=4).float(),
        x=x,
        states=states,
        atoms=batch.backbone + 0.3 * noise,
        data_atoms=batch.backbone + 0.2 * noise,
        secondary_structure=normal(2, 20, 8, seed=5).float(),
        energy=lambda x: 0.5 * (x**2).sum((-1, -2)),
        growth=torch.tensor([0.3, -0.2]),
    )


def perfect(batch: Batch) -> losses.Prediction:
    """The data, turned and moved."""
    turn = random_rotation(6).float()

    def moved(x: Tensor) -> Tensor:
        return x @ turn + 5

    return losses.Prediction(
        moved(batch.x),
        moved(batch.x),
        moved(batch.x).unsqueeze(0),
        moved(batch.backbone),
        batch.backbone,
        50 * torch.nn.functional.one_hot(batch.dssp, 8).float(),
        lambda x: x.sum((-1, -2)),
        torch.zeros(2),
    )


def weight(model: float, data: float) -> float:
    return 1 / (1 + math.exp(min(model, data) - losses.CONTACT_DISTANCE))


def test_likelihood_lowers_the_data_and_raises_the_model():
    """U = k |x|^2 / 2: the gradient by k is half the difference of the squares, and x gets none."""
    k = torch.tensor(2.0, requires_grad=True)
    x = torch.ones(1, 4, 3, requires_grad=True)
    data = torch.full((1, 4, 5, 3), 3.0)
    batch = Batch(
        ("a",),
        torch.zeros(1, 4, 20),
        torch.ones(1, 4),
        data,
        torch.ones(1, 4, 5),
        torch.zeros(1, 4),
        torch.zeros(1, 4, 20),
        torch.zeros(1, 4),
    )
    p = losses.Prediction(x, x, x[None], data, data, x, lambda x: 0.5 * k * (x**2).sum((-1, -2)), k)
    loss = losses.Likelihood()(p, batch)
    assert loss.tolist() == [2 / 2 * 12 * (9 - 1)]
    loss.sum().backward()
    assert k.grad == 0.5 * 12 * (9 - 1)
    assert x.grad is None


def test_energy_size_by_hand(batch, prediction):
    """An energy of 3 kT at the data and of 1 kT at the model's positions, for each of 20 and of 13 residues."""

    def energy(x: Tensor) -> Tensor:
        return (3.0 if torch.equal(x, batch.x) else 1.0) * batch.mask.sum(-1)

    loss = losses.EnergySize()(prediction._replace(energy=energy), batch)
    np.testing.assert_allclose(loss, (9 + 1) / 2)


@pytest.mark.parametrize("initial", [False, True])
def test_bonds(batch, prediction, initial):
    x = prediction.x0 if initial else prediction.x
    expected = [
        np.mean(
            [
                abs(math.dist(x[b, i], x[b, i + 1]) - math.dist(batch.x[b, i], batch.x[b, i + 1]))
                for i in range(n - 1)
            ]
        )
        for b, n in enumerate(LENGTHS)
    ]
    np.testing.assert_allclose(losses.Bonds(initial)(prediction, batch), expected, rtol=1e-4)
    np.testing.assert_allclose(losses.Bonds(initial)(perfect(batch), batch), 0, atol=1e-5)


def test_imputation_is_about_the_atoms_that_there_are(batch, prediction):
    """All atoms are off by (3, 4, 0) Angstrom; the carbonyl oxygens, which the data lack now, by far more."""
    there = batch.atom_mask.clone()
    there[:, :, 3] = 0
    atoms = batch.backbone + torch.tensor([3.0, 4.0, 0.0])
    atoms[:, :, 3] += 100
    found = losses.Imputation()(
        prediction._replace(data_atoms=atoms), batch._replace(atom_mask=there)
    )
    np.testing.assert_allclose(found, 5, rtol=1e-5)


@pytest.mark.parametrize("initial", [False, True])
def test_distances(batch, prediction, initial):
    x = prediction.x0 if initial else prediction.x
    expected = []
    for b, n in enumerate(LENGTHS):
        total = norm = 0.0
        for i in range(n):
            for j in range(i + 1, n):
                model = math.dist(x[b, i], x[b, j])
                data = math.dist(batch.x[b, i], batch.x[b, j])
                w = weight(model, data)
                total, norm = total + w * abs(model - data), norm + w
        expected.append(total / norm)
    found = losses.Distances(initial)(prediction, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(losses.Distances(initial)(perfect(batch), batch), 0, atol=1e-5)


@pytest.mark.parametrize("initial", [False, True])
def test_angles_are_those_of_mdtraj(batch, prediction, initial):
    def directions(x: Tensor, n: int) -> np.ndarray:
        chain = md.Trajectory(x[:n].numpy() / 10, None)
        first = np.arange(n - 3)[:, None]
        a = md.compute_angles(chain, first + [1, 2, 3], opt=False)[0]
        d = md.compute_dihedrals(chain, first + [0, 1, 2, 3], opt=False)[0]
        return np.stack([np.cos(a), np.sin(a) * np.cos(d), np.sin(a) * np.sin(d)], axis=1)

    x = prediction.x0 if initial else prediction.x
    expected = [
        np.linalg.norm(directions(x[b], n) - directions(batch.x[b], n), axis=1).mean()
        for b, n in enumerate(LENGTHS)
    ]
    np.testing.assert_allclose(losses.Angles(initial)(prediction, batch), expected, rtol=1e-4)
    np.testing.assert_allclose(losses.Angles(initial)(perfect(batch), batch), 0, atol=1e-3)


def test_trajectory(batch, prediction):
    def place(x: np.ndarray, i: int, j: int) -> np.ndarray:
        """x[j] - x[i] in the frame of x[i] (nemo.md, 3.1)."""
        before, after = ((a - b) / math.dist(a, b) for a, b in ((x[i], x[i - 1]), (x[i + 1], x[i])))
        e1, e2 = before - after, np.cross(before, after)
        e1, e2 = e1 / np.linalg.norm(e1), e2 / np.linalg.norm(e2)
        return np.stack([e1, e2, np.cross(e1, e2)]) @ (x[j] - x[i])

    expected = np.zeros(2)
    for b, n in enumerate(LENGTHS):
        data = batch.x[b].double().numpy()
        for state in prediction.states[:, b].double().numpy():
            total = norm = 0.0
            for i in range(1, n - 1):
                for j in set(range(n)) - {i}:
                    one, other = place(state, i, j), place(data, i, j)
                    w = weight(np.linalg.norm(one), np.linalg.norm(other))
                    total, norm = total + w * np.linalg.norm(one - other), norm + w
            expected[b] += total / norm / 3
    np.testing.assert_allclose(losses.Trajectory()(prediction, batch), expected, rtol=1e-4)
    np.testing.assert_allclose(losses.Trajectory()(perfect(batch), batch), 0, atol=1e-4)


@pytest.mark.parametrize("initial", [False, True])
def test_template_modelling_is_one_less_the_tm_score(batch, initial):
    """One residue in 20, or in 13, is 3 Angstrom off, and D0 is 0.5: it counts 1 / 37; turning does not matter."""
    p = perfect(batch)
    x = p.x.clone()
    x[:, 5, 0] += 3.0
    moved = p._replace(**{"x0" if initial else "x": x})
    found = losses.TemplateModelling(initial)(moved, batch)
    np.testing.assert_allclose(found, [36 / 37 / 20, 36 / 37 / 13], atol=2e-4)
    np.testing.assert_allclose(losses.TemplateModelling(initial)(p, batch), 0, atol=1e-4)


def test_gradient_of_template_modelling_holds_the_superposition(batch):
    """Only the residue that is off has a gradient, along its error: -d/dr of 1 / (1 + 4 r^2) / L, at r = 3."""
    p = perfect(batch)
    x = p.x.clone()
    x[:, 5, 0] += 3.0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.TemplateModelling()(p._replace(x=x), batch).sum(), x)
    expected = torch.zeros_like(x)
    expected[:, 5, 0] = 24 / 37**2 / torch.tensor(LENGTHS)
    np.testing.assert_allclose(gradient, expected, atol=5e-4)


def test_hydrogen_bond_energy_by_hand(batch):
    energy, there = losses.hydrogen_bond_energy(batch.backbone, batch.atom_mask, batch.s)
    atoms = batch.backbone[1].double().numpy()
    sequence = "NLYIQWLKDGGPSSGRPPPS"[4:17]
    for i in range(13):
        for j in range(13):
            donor = i > 0 and sequence[i] != "P"
            assert there[1, i, j] == (donor and abs(i - j) > 2)
            if there[1, i, j]:
                n, ca, carbon = atoms[i, 0], atoms[i, 1], atoms[i - 1, 2]
                bisector = sum((a - n) / np.linalg.norm(a - n) for a in (ca, carbon))
                h = n - bisector / np.linalg.norm(bisector)
                c, o = atoms[j, 2], atoms[j, 3]
                u = (
                    1 / math.dist(o, n)
                    + 1 / math.dist(c, h)
                    - 1 / math.dist(o, h)
                    - 1 / math.dist(c, n)
                )
                assert energy[1, i, j] == pytest.approx(0.084 * 332 * u, rel=1e-3, abs=1e-3)
    assert there[1, 13:].sum() == there[1, :, 13:].sum() == 0


def test_hydrogen_bonds_are_those_of_dssp():
    """All 45 of a real domain. MDTraj, as DSSP, puts the hydrogens opposite to C=O instead, a few degrees away."""
    chain = read_structure("tests/data/27_3a4rA.pdb.gz")
    domain = domain_of(chain)
    batch = collate([Example(domain, domain.sequence, None, domain.contacts)])
    energy, there = losses.hydrogen_bond_energy(batch.backbone, batch.atom_mask, batch.s)
    atoms = md.Trajectory(chain.backbone.reshape(1, -1, 3) / 10, atom_topology(chain.sequence))
    dssp = md.kabsch_sander(atoms)[0].toarray().T  # rows: donors; the best two bonds of each
    bonds = {(i, j) for i, j in np.argwhere(dssp < -0.5).tolist() if abs(i - j) > 2}
    assert {(i, j) for i, j in torch.nonzero((energy[0] < -0.5) & (there[0] > 0)).tolist()} == bonds
    assert len(bonds) == 45
    for i, j in bonds:
        assert energy[0, i, j] == pytest.approx(dssp[i, j], abs=0.4)


def test_hydrogen_bond_loss_is_a_logistic_regression(batch, prediction):
    loss = losses.HydrogenBonds()
    a, b = (math.log1p(math.exp(float(value.detach()))) for value in (loss.a, loss.b))
    data, there = losses.hydrogen_bond_energy(batch.backbone, batch.atom_mask, batch.s)
    model, _ = losses.hydrogen_bond_energy(prediction.atoms, batch.atom_mask, batch.s)
    expected = np.zeros(2)
    for k, i, j in torch.nonzero(there).tolist():
        soft = 1 / (1 + math.exp(b * (float(model[k, i, j]) + 0.5)))
        p = 1 / (1 + math.exp(-a * soft - float(loss.c.detach())))
        expected[k] -= math.log(p if data[k, i, j] < -0.5 else 1 - p) / LENGTHS[k]
    np.testing.assert_allclose(loss(prediction, batch).detach(), expected, rtol=1e-4)
    far, near = (1 / (1 + math.exp(-a * bonded - float(loss.c.detach()))) for bonded in (0, 1))
    assert far == pytest.approx(0.01, abs=0.001)
    assert near == pytest.approx(0.9, abs=0.01)


def test_secondary_structure(batch, prediction):
    logits = prediction.secondary_structure.double().numpy()
    expected = [
        np.mean([
            np.log(np.exp(logits[b, i]).sum()) - logits[b, i, batch.dssp[b, i]] for i in range(n)
        ])
        for b, n in enumerate(LENGTHS)
    ]  # fmt: skip
    np.testing.assert_allclose(losses.SecondaryStructure()(prediction, batch), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.SecondaryStructure()(perfect(batch), batch), 0, atol=1e-6)


def test_lyapunov_is_the_growth_where_there_is_any(batch, prediction):
    np.testing.assert_allclose(losses.Lyapunov()(prediction, batch), [0.3, 0])


DIRECT = pytest.mark.parametrize(
    ("name", "term"), [("pair_likelihood", "pair-basis"), ("chain_likelihood", "chain-basis")]
)


@pytest.fixture(scope="module")
def direct() -> NemoModel:
    """A model of terms that are learned directly, with coefficients that are not zero."""
    torch.manual_seed(2)
    terms = ("backbone", "chain-basis", "learned", "pair-basis")
    model = NemoModel(replace(NemoConfig.preset("tiny"), terms=terms))
    model.energy.fit_reference([random_chain(30, seed=seed).float() for seed in range(2)])
    with torch.no_grad():
        for name in ("chain-basis", "pair-basis"):
            model.sequence_network.term_heads[name].coefficients.weight.normal_(std=0.2)
    return model.eval()


@DIRECT
def test_direct_likelihoods_are_the_cross_entropies_of_the_terms(direct, batch, name, term):
    """Of the data, whatever is predicted; learned through the sequence network, without a simulation."""
    prediction = predict(direct, batch, RolloutSettings(0, 0, 1), 0)
    # Coefficients in the order of terms, of which "learned" has two.
    coefficients = prediction.chains.coefficients[{"pair-basis": 3, "chain-basis": 0}[term]]
    share = (losses.PAIR_SHARE,) if term == "pair-basis" else ()
    torch.manual_seed(1)
    expected = direct.energy.terms[term].cross_entropy(batch.x, coefficients, batch.mask, *share)
    torch.manual_seed(1)
    loss = losses.LOSSES[name]()(prediction, batch)
    assert loss.equal(expected)
    assert loss.shape == (2,)
    loss.sum().backward()
    head = direct.sequence_network.term_heads[term].coefficients
    assert head.weight.grad.ne(0).any()
    assert direct.sequence_network.embedding.weight.grad.ne(0).any()
    direct.zero_grad()


@DIRECT
def test_direct_likelihoods_do_not_count_padding(direct, batch, monkeypatch, name, term):
    monkeypatch.setattr(losses, "PAIR_SHARE", 1.0)
    alone = Batch(batch.ids[1:], *(tensor[1:, :13] for tensor in batch[1:]))
    padded, cut = (
        losses.LOSSES[name]()(predict(direct, chains, RolloutSettings(0, 0, 1), 0), chains)
        for chains in (batch, alone)
    )
    np.testing.assert_allclose(padded[1].detach(), cut[0].detach(), rtol=1e-5)


@DIRECT
def test_direct_likelihoods_without_their_term_are_refused(batch, prediction, name, term):
    loss = losses.LOSSES[name]()
    with raises(InputError, term, "terms"):
        loss(prediction, batch)
    torch.manual_seed(2)
    other = predict(NemoModel(NemoConfig.preset("tiny")), batch, RolloutSettings(0, 0, 1), 0)
    with raises(InputError, term, "terms"):
        loss(other, batch)


ALL = [
    losses.Likelihood(),
    losses.EnergySize(),
    losses.Bonds(),
    losses.Bonds(initial=True),
    losses.Imputation(),
    losses.Distances(),
    losses.Distances(initial=True),
    losses.Angles(),
    losses.Angles(initial=True),
    losses.Trajectory(),
    losses.TemplateModelling(),
    losses.TemplateModelling(initial=True),
    losses.HydrogenBonds(),
    losses.SecondaryStructure(),
    losses.Lyapunov(),
]


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_padding_does_not_count(batch, prediction, loss):
    """The shorter chain alone, and beside the longer one."""
    mask = batch.mask[1:, :13]
    alone = Batch(batch.ids[1:], *(tensor[1:, :13] for tensor in batch[1:]))
    cut = losses.Prediction(
        prediction.x0[1:, :13],
        prediction.x[1:, :13],
        prediction.states[:, 1:, :13],
        prediction.atoms[1:, :13],
        prediction.data_atoms[1:, :13],
        prediction.secondary_structure[1:, :13],
        lambda x: prediction.energy(x * mask.unsqueeze(-1)),
        prediction.growth[1:],
    )
    padded = prediction._replace(energy=lambda x: prediction.energy(x * batch.mask.unsqueeze(-1)))
    np.testing.assert_allclose(
        loss(padded, batch)[1].detach(), loss(cut, alone)[0].detach(), rtol=1e-4, atol=1e-5
    )
