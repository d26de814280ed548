"""A reader's test: an energy term, an encoder, a loss and a structure format, each with one line in its registry.

What CONTRIBUTING says of the files to touch is true as long as nothing else is needed here.
"""

from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import openmm as mm
import pytest
import torch
from torch import nn

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.data.batches import DomainDataset, Draw, collate
from openmm_nemo.data.sets.building import source_files
from openmm_nemo.data.sets.domains import domain_of
from openmm_nemo.data.structures.parsing import FORMATS, StructureFormat
from openmm_nemo.encoders import ENCODERS, Encoder
from openmm_nemo.encoders.base import checked_rows
from openmm_nemo.energies import TERMS, CoefficientHead, Coefficients, EnergyTerm, ProteinEnergy
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.padding import pair_mask, without_padding
from openmm_nemo.networks.blocks import convolution, initialise
from openmm_nemo.residues import THREE_LETTER
from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.prediction import RolloutSettings, predict
from openmm_nemo.training.settings import StageSettings, TrainingSettings
from tests.helpers import need_plugin, platform, raises
from tests.tolerances import assert_close
from tests.unit.energies import test_contract as contract

SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"


@pytest.fixture(scope="module")
def batch():
    cage = domain_of(read_structure("examples/data/1l2y.pdb"))
    dataset = DomainDataset([cage, cage.window(4, 13)], 64, 0)
    return collate([dataset[Draw(0, k)] for k in range(2)])


# An energy term


class ContactsHead(CoefficientHead):
    def __init__(self, pair_channels):
        super().__init__()
        self.strength = convolution(2, pair_channels, 1)

    def initialise(self):
        initialise(self.strength.weight)

    def scale(self, factor, strength):
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(factor * strength)

    def forward(self, h, p, mask):
        return [self.strength(p).permute(0, 2, 3, 1) * pair_mask(mask).unsqueeze(-1)]


class Contacts(EnergyTerm):
    """sum over pairs of l exp(-(D / 8 Angstrom)^2)."""

    handed = False

    @staticmethod
    def coefficients(config):
        return [Coefficients("l", True, 1)]

    @staticmethod
    def make_head(config, node_channels, pair_channels):
        return ContactsHead(pair_channels)

    def forward(self, x: torch.Tensor, coefficients: list[torch.Tensor], mask: torch.Tensor):
        x = without_padding(x, mask)
        squared = ((x.unsqueeze(1) - x.unsqueeze(2)) ** 2).sum(-1)
        return (coefficients[0].squeeze(-1) * torch.exp(-squared / 64)).sum(dim=[1, 2])


@pytest.fixture
def model_with_contacts(monkeypatch):
    monkeypatch.setitem(TERMS, "contacts", Contacts)
    torch.manual_seed(1)
    return NemoModel(replace(NemoConfig.preset("tiny"), terms=("learned", "contacts")))


def test_a_new_term_passes_the_battery(monkeypatch):
    monkeypatch.setitem(TERMS, "contacts", Contacts)
    for dtype in (torch.float32, torch.float64):
        contract.test_rigid_motions_change_nothing("contacts", dtype)
        contract.test_padded_batches_equal_single_chains("contacts", dtype)
        contract.test_degenerate_chains_have_finite_forces("contacts", dtype, "coincident")
        contract.test_torchscript_equals_eager("contacts", dtype)
    contract.test_positions_of_padding_are_not_read("contacts", float("nan"))
    contract.test_mirror_images_differ_if_the_term_is_handed("contacts")
    contract.test_forces_are_those_of_finite_differences("contacts")
    contract.test_functions_of_the_forces_can_be_differentiated("contacts")
    contract.test_the_head_gives_what_the_term_takes("contacts")
    contract.test_heads_scale_their_coefficients("contacts")


def test_the_battery_finds_a_wrong_term(monkeypatch):
    """One that claims to be handed, and one that pulls at the origin."""

    class Handed(Contacts):
        handed = True

    class Pulls(Contacts):
        def forward(self, x, coefficients, mask):
            return super().forward(x, coefficients, mask) + 0.01 * (x**2).sum(dim=[1, 2])

    monkeypatch.setitem(TERMS, "handed", Handed)
    monkeypatch.setitem(TERMS, "pulls", Pulls)
    with pytest.raises(AssertionError):
        contract.test_mirror_images_differ_if_the_term_is_handed("handed")
    with pytest.raises(AssertionError):
        contract.test_rigid_motions_change_nothing("pulls", torch.float64)


def test_a_new_term_adds_to_the_energy(model_with_contacts):
    protein = model_with_contacts.double().condition(SEQUENCE)
    x = protein.initial_state()
    l1, l2, contacts = protein.potential.coefficient_values()
    learned = protein.potential.network.terms["learned"](x[None], [l1, l2], torch.ones(1, 20))
    expected = sum(
        contacts[0, i, j, 0] * torch.exp(-(((x[i] - x[j]) / 8) ** 2).sum())
        for i in range(20)
        for j in range(20)
    )
    assert abs(expected) > 0.1
    assert_close(protein.energy(x) - learned[0], expected, "rigid_motion")


def test_a_new_term_learns(model_with_contacts, batch):
    model = model_with_contacts.train()
    head = model.sequence_network.term_heads["contacts"].strength.weight
    before = head.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    prediction = predict(model, batch, RolloutSettings(2, 2, 1), seed=3)
    loss = LOSSES["likelihood"]()(prediction, batch) + LOSSES["distances"]()(prediction, batch)
    loss.mean().backward()
    optimizer.step()
    assert head.grad.ne(0).all()
    assert not head.equal(before)


def test_a_new_term_is_simulated_and_kept(model_with_contacts, tmp_path):
    need_plugin()
    model = model_with_contacts
    model.save_pretrained(tmp_path / "model")
    again = NemoModel.from_pretrained(tmp_path / "model")
    assert again.fingerprint() == model.fingerprint()
    protein = again.double().condition(SEQUENCE)
    assert_close(moved_in_openmm(protein), protein.rollout(4, seed=5).x[-1, 0], "trajectory")
    kept = ProteinEnergy.from_bytes(protein.potential.to_bytes())
    x = protein.initial_state()[None]
    assert kept(x).equal(protein.energy(x))


def moved_in_openmm(protein):
    """Positions after four steps in a system that was written and read as XML, Angstrom."""
    system = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(protein.create_system()))
    context = mm.Context(system, protein.create_integrator(seed=5), platform("Reference"))
    context.setPositions(protein.initial_positions())
    context.getIntegrator().step(4)
    return 10 * torch.from_numpy(context.getState(positions=True).getPositions(asNumpy=True)._value)


# An encoder


class ProtonationEncoder(Encoder):
    """The charge of each residue."""

    takes = "protonation"

    def width(self, config):
        return 1

    def encode(self, config, sequence, data):
        return checked_rows(data, (len(sequence), 1), "protonation")


def test_a_new_encoder(monkeypatch, tmp_path):
    monkeypatch.setitem(ENCODERS, "protonation", ProtonationEncoder())
    torch.manual_seed(2)
    config = replace(NemoConfig.preset("tiny"), encoders=("one-hot", "protonation"))
    model = NemoModel(config).eval()
    charges = np.random.default_rng(3).integers(-1, 2, size=(20, 1))
    s = model.encode(SEQUENCE, protonation=charges)
    assert s.shape == (1, 20, 21)
    assert (s[0, :, 20].numpy() == charges[:, 0]).all()
    with pytest.raises(InputError, match="'protonation'"):
        model.condition(SEQUENCE)
    model.save_pretrained(tmp_path / "model")
    again = NemoModel.from_pretrained(tmp_path / "model")
    x = model.condition(SEQUENCE, protonation=charges).rollout(3, seed=5).x
    assert again.condition(SEQUENCE, protonation=charges).rollout(3, seed=5).x.equal(x)
    assert not again.condition(SEQUENCE, protonation=-charges).rollout(3, seed=5).x.equal(x)


# A loss


class Gyration(nn.Module):
    """Error of the radius of gyration, Angstrom."""

    def forward(self, prediction, batch):
        return (self.radius(prediction.x, batch) - self.radius(batch.x, batch)).abs()

    def radius(self, x, batch):
        n = batch.mask.sum(-1)
        mean = (x * batch.mask[..., None]).sum(1, keepdim=True) / n[:, None, None]
        return ((((x - mean) ** 2).sum(-1) * batch.mask).sum(-1) / n).sqrt()


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_a_new_loss(monkeypatch, batch):
    stage = {"updates": 1, "steps": 2, "backpropagated": 2, "losses": {"gyration": 3.0}}
    with pytest.raises(ValueError, match="gyration"):
        StageSettings(**stage)
    monkeypatch.setitem(LOSSES, "gyration", Gyration)
    settings = TrainingSettings(
        description="A test.",
        data={"set": "set", "split": "split.json"},
        model={"changes": {"dropout": 0.0}},
        stages=[stage],
    )
    training = NemoTraining(settings)
    loss = training.training_step(batch, 0)
    loss.backward()
    assert training.model.sequence_network.steps.weight.grad.ne(0).any()
    seed = training._seed("update", 0)
    prediction = predict(NemoTraining(settings).model, batch, RolloutSettings(2, 2, 1), seed)
    radii = []
    for x in (prediction.x, batch.x):
        for row, n in zip(x, (20, 13), strict=True):
            apart = torch.cdist(row[:n].double(), row[:n].double())
            radii.append((apart**2).mean().div(2).sqrt())  # of all pairs
    expected = 3 * (abs(radii[0] - radii[2]) + abs(radii[1] - radii[3])) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)


# A format of structure files


def is_trace(content: bytes) -> bool:
    return content.startswith(b"TRACE")


def parse_trace(content: bytes, path: Path) -> gemmi.Structure:
    """Lines of a residue's name and the position of its C-alpha."""
    structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for number, line in enumerate(content.decode().splitlines()[1:]):
        name, x, y, z = line.split()
        atom, residue = gemmi.Atom(), gemmi.Residue()
        atom.name, atom.element, atom.serial = "CA", gemmi.Element("C"), number
        atom.pos = gemmi.Position(float(x), float(y), float(z))
        residue.name, residue.seqid = name, gemmi.SeqId(number + 1, " ")
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    return structure


def test_a_new_structure_format(monkeypatch, tmp_path):
    native = read_structure("examples/data/1l2y.pdb")
    lines = [
        f"{THREE_LETTER[letter]} {' '.join(map(str, x))}"
        for letter, x in zip(native.sequence, native.ca.tolist(), strict=True)
    ]
    path = tmp_path / "cage.trace"
    path.write_text("\n".join(["TRACE", *lines]))
    with raises(InputError, path, "PDB", "mmCIF", "GRO"):
        read_structure(path)
    with raises(InputError, tmp_path, ".pdb"):
        source_files([tmp_path])
    monkeypatch.setitem(FORMATS, "trace", StructureFormat((".trace",), is_trace, parse_trace))
    structure = read_structure(path)
    assert structure.sequence == native.sequence
    np.testing.assert_allclose(structure.ca, native.ca, atol=1e-9)
    assert source_files([tmp_path]).files == [path]
    path.write_text("TRACE\nALA 1 2")
    with raises(InputError, path, "damaged"):
        read_structure(path)
