"""Comparison of models, against structures that are known and computations by hand."""

import csv
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import t as student
from torch import nn

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.comparison.comparison import Candidate, Comparison, compare
from openmm_nemo.comparison.differences import paired_differences
from openmm_nemo.comparison.measures import FIGURES, measure
from openmm_nemo.comparison.tables import comparison_lines, tables, write_comparison
from openmm_nemo.comparison.windows import Window, check_splits, draw_windows
from openmm_nemo.conditioning import BaselineOutput
from openmm_nemo.data import DomainSet, Split
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import cartesian_to_internal, rmsd
from openmm_nemo.geometry.similarity import tm_score
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import normal, raises, random_chain
from tests.sets import write_set

MIRROR = torch.tensor([1.0, 1, -1])
LETTERS = np.eye(len(AMINO_ACIDS), dtype=np.float32)


def window(n: int, seed: int, number: int = 0, part: str = "test", level: str = "C") -> Window:
    generator = np.random.default_rng(seed)
    s, other = (LETTERS[generator.integers(20, size=n)] for _ in range(2))
    native = random_chain(n, seed=seed).float().numpy()
    shuffled = s[generator.permutation(n)]
    return Window(f"w{seed}", part, level, native, s, shuffled, other, number)


class Answers(nn.Module):
    """A model without energy that gives a known structure for each input, and a straight chain for all others."""

    config = NemoConfig(kind="baseline", lstm_units=1)
    energy = None
    condition_batch = NemoModel.condition_batch

    def __init__(self, *pairs) -> None:
        super().__init__()
        self.pairs = [(torch.from_numpy(s), torch.as_tensor(x)) for s, x in pairs]

    def sequence_network(self, s, mask):
        z0 = []
        for row, n in zip(s, mask.sum(-1).int(), strict=True):
            x = torch.tensor([3.8, 0, 0]) * torch.arange(n)[:, None]
            for known, answer in self.pairs:
                if known.shape == (n, s.shape[-1]) and torch.equal(known, row[:n]):
                    x = answer
            z0.append(cartesian_to_internal(x))
        return BaselineOutput(nn.utils.rnn.pad_sequence(z0, batch_first=True), torch.empty(0))


def tiny(seed: int) -> NemoModel:
    torch.manual_seed(seed)
    return NemoModel(NemoConfig.preset("tiny"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_set(folder)
    domains = list(DomainSet(folder / "set" / "domains.safetensors"))
    return domains, Split.read(folder / "split.json")


# Figures of a structure


def test_a_model_that_knows_the_native_is_perfect_and_needs_its_sequence():
    w = window(30, 1)
    model = Answers((w.s, w.native))
    figures = {name: values[0, 0] for name, values in measure(model, [w], [0, 5], 0).items()}
    assert figures["tm"] == pytest.approx(1, abs=1e-4)
    assert figures["rmsd_angstrom"] == pytest.approx(0, abs=1e-3)
    assert figures["rg_ratio"] == pytest.approx(1, abs=1e-4)
    assert figures["contact_precision"] == 1
    assert figures["bond_error_angstrom"] == pytest.approx(0, abs=1e-4)
    assert figures["shuffled_gap"] > 0.5
    assert figures["swapped_gap"] > 0.5
    assert figures["mirror_gap"] > 0.3
    assert np.isnan(figures["drift_angstrom"])


def test_gaps_are_those_of_the_structures_for_other_sequences():
    w = window(30, 2)
    near, far = (torch.from_numpy(w.native + size * noise(30)) for size in (1, 2))
    model = Answers((w.s, w.native), (w.shuffled, near), (w.swapped, far))
    figures = measure(model, [w], [0], 0)
    for name, x in (("shuffled_gap", near), ("swapped_gap", far)):
        alone = measure(Answers((w.s, x)), [w], [0], 0)["tm"]
        np.testing.assert_allclose(figures[name], 1 - alone, atol=1e-4)
    assert 0 < figures["shuffled_gap"] < figures["swapped_gap"]


def noise(n: int) -> np.ndarray:
    return normal(n, 3, seed=5).float().numpy()


def test_the_mirror_gap_changes_sign_for_the_mirror_image():
    w = window(30, 3)
    x = torch.from_numpy(w.native)
    right, wrong = (measure(Answers((w.s, y)), [w], [0], 0) for y in (x, x * MIRROR))
    np.testing.assert_allclose(wrong["mirror_gap"], -right["mirror_gap"], atol=1e-3)
    assert right["mirror_gap"] > 0.3
    assert wrong["rmsd_angstrom"] > 3  # no reflection


def test_figures_are_those_of_other_programs():
    tmtools = pytest.importorskip("tmtools")
    w = window(40, 4)
    x = w.native + 0.7 * noise(40).cumsum(0)
    figures = {k: v[0, 0] for k, v in measure(Answers((w.s, torch.tensor(x))), [w], [0], 0).items()}
    x, y = (c.astype(float) - c.mean(0) for c in (x, w.native))
    letters = "A" * 40
    tm = tmtools.tm_align(x, y, letters, letters, alignment=(letters, letters)).tm_norm_chain1
    assert figures["tm"] == pytest.approx(tm, abs=0.01)
    turn, _ = Rotation.align_vectors(y, x)
    assert figures["rmsd_angstrom"] == pytest.approx(
        np.sqrt(((turn.apply(x) - y) ** 2).sum(1).mean()), rel=1e-3
    )
    assert figures["rg_ratio"] == pytest.approx(np.sqrt((x**2).sum() / (y**2).sum()), rel=1e-3)
    bonds = [np.linalg.norm(np.diff(c, axis=0), axis=1) for c in (x, y)]
    assert figures["bond_error_angstrom"] == pytest.approx(
        abs(bonds[0] - bonds[1]).mean(), rel=1e-3
    )
    there = [
        {(i, j) for i in range(40) for j in range(i + 6, 40) if np.linalg.norm(c[i] - c[j]) < 8}
        for c in (x, y)
    ]
    assert there[0]
    assert figures["contact_precision"] == pytest.approx(len(there[0] & there[1]) / len(there[0]))


def test_a_structure_that_is_not_finite_scores_nothing():
    w = window(30, 5)
    figures = measure(Answers((w.s, np.full((30, 3), np.nan, np.float32))), [w], [0], 0)
    assert figures["tm"] == 0
    assert figures["rmsd_angstrom"] == np.inf
    assert figures["shuffled_gap"] < 0


# Simulations


def test_structures_are_those_of_a_simulation_of_the_protein_alone():
    model, w = tiny(1), window(24, 6, number=3)
    figures = measure(model, [w], [0, 4, 9], seed=2)
    protein = model.condition("".join(AMINO_ACIDS[k] for k in w.s.argmax(1)))
    noise_of_window = (2 * 4 + 2) * 2**16 + 3  # the test is the third of four parts
    native = torch.from_numpy(w.native)
    energies = []
    for name, start in (("rmsd_angstrom", None), ("drift_angstrom", native)):
        states = protein.rollout(9, x0=start, seed=noise_of_window).x[[0, 4, 9], 0]
        energies.append(protein.energy(states).detach().numpy())
        expected = []
        for x in states.double().numpy():
            _, rssd = Rotation.align_vectors(w.native - w.native.mean(0), x - x.mean(0))
            expected.append(rssd / np.sqrt(24))
        if start is not None:
            expected[0] = np.nan
        np.testing.assert_allclose(figures[name][:, 0], expected, rtol=1e-3)
    gap = (energies[1] - energies[0]) / 24
    np.testing.assert_allclose(figures["annealed_gap_kt"][1:, 0], gap[1:], rtol=1e-3, atol=1e-4)
    assert np.isnan(figures["annealed_gap_kt"][0])


@pytest.mark.integration
def test_batches_and_processes_do_not_change_figures():
    lengths = (20, 24, 24, 30, 22, 26)
    windows = [
        window(n, 10 + k, k % 4, "train" if k < 4 else "test", "" if k < 4 else "C")
        for k, n in enumerate(lengths)
    ]
    candidates = [Candidate("a", "one", tiny(1)), Candidate("a", "two", tiny(2))]
    told = []
    whole = compare(candidates, windows, [5], 1, workers=1, progress=told.append)
    assert told == [4, 6, 10, 12]
    for workers, size in ((1, 1), (1, 3), (2, None)):
        other = compare(candidates, windows, [5], 1, workers=workers, batch_size=size)
        for name in FIGURES:
            np.testing.assert_allclose(other.figures[name], whole.figures[name], atol=2e-3)
    assert np.isfinite(whole.figures["drift_angstrom"][:, 1]).all()


def test_windows_and_seeds_have_their_own_noise():
    w = window(24, 7)
    model = tiny(1)
    one = measure(model, [w, w._replace(number=1)], [0, 5], 1)["rmsd_angstrom"]
    two = measure(model, [w], [0, 5], 2)["rmsd_angstrom"]
    trained = measure(model, [w._replace(part="train")], [0, 5], 1)["rmsd_angstrom"]
    assert len({one[1, 0], one[1, 1], two[1, 0], trained[1, 0]}) == 4
    assert one[0, 0] == pytest.approx(one[0, 1])


def test_without_controls_the_rest_is_the_same():
    w = window(24, 8)
    with_, without = (measure(tiny(1), [w], [0, 3], 1, controls=c) for c in (True, False))
    for name in FIGURES:
        if name in (
            "shuffled_gap",
            "swapped_gap",
            "drift_angstrom",
            "annealed_gap_kt",
        ) or name.startswith(("noise", "adam")):
            assert np.isnan(without[name]).all()
        else:
            np.testing.assert_array_equal(with_[name], without[name])


# Samples and diagnostics


def fold(seed: int) -> NemoModel:
    """A small model whose energy has fixed functions, with coefficients."""
    torch.manual_seed(seed)
    small = {"node_channels": 8, "pair_channels": 4, "sequence_blocks": 2, "pair_blocks": 2}
    small |= {"imputation_blocks": 2}
    model = NemoModel(NemoConfig.from_dict(NemoConfig.preset("fold").to_dict() | small)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("coefficients.weight"):
            nn.init.normal_(parameter, std=0.3)
    return model


def test_samples_are_simulations_from_their_own_starts():
    model, w = fold(1), window(24, 6, number=3)
    natives = tuple(random_chain(24, seed=60 + k).float().numpy() for k in range(12))
    w = w._replace(foreign=natives)
    figures = measure(model, [w], [0, 6], seed=2, controls=False, n_samples=3)
    chain = model.condition("".join(AMINO_ACIDS[k] for k in w.s.argmax(1))).copies(1)
    first = (2 * 4 + 2) * 2**16 + 3
    step = 1327217885
    native = torch.from_numpy(w.native)
    x, start, clipped = [], [], []
    for seed in (first, first + step, (first + 2 * step) % (2**31 - 2**16)):
        start.append(chain.initial_positions(None if seed == first else seed)[0])
        trajectory = chain.rollout(6, start[-1][None], seed=seed, schedule=chain.schedule(6))
        x.append(trajectory.x[-1, 0])
        clipped.append(trajectory.clipped.float().mean().item())
    assert min((a - b).abs().max() for a, b in pairwise(start)) > 1
    tm = [tm_score(y, native) for y in x]
    energy = [chain.energy(y[None]).item() for y in x]
    native_energy = chain.energy(native[None]).item()
    of_foreign = [chain.energy(torch.from_numpy(y)[None]).item() for y in natives]
    expected = {
        "tm": np.mean(tm),
        "tm_best": max(tm),
        "tm_lowest": tm[int(np.argmin(energy))],
        "mirror_gap": tm[0] - tm_score(x[0] * MIRROR, native),
        "energy_kt": np.mean(energy) / 24,
        "energy_gap_kt": (native_energy - np.mean(energy)) / 24,
        "native_lowest": float(native_energy < min(energy)),
        "mirror_energy_kt": (chain.energy(-native[None]).item() - native_energy) / 24,
        "threading_z": (native_energy - np.mean(of_foreign)) / np.std(of_foreign, ddof=1),
        "moved_angstrom": np.mean([rmsd(*pair) for pair in zip(x, start, strict=True)]),
        "clipped": np.mean(clipped),
    }
    for name, value in expected.items():
        assert figures[name][1, 0] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    assert np.isfinite(figures["pairs_l5_6"]).all()
    assert np.isnan(figures["adam_tm"]).all()
    # Step 0 is z(0) alone, and one sample is the first one.
    one = measure(model, [w], [0, 6], seed=2, controls=False)
    for name in FIGURES:
        np.testing.assert_array_equal(figures[name][0], one[name][0])
    assert one["tm"][1, 0] == pytest.approx(tm[0], abs=1e-4)
    for choice in ("lowest", "jury", "best"):
        np.testing.assert_array_equal(one[f"tm_{choice}"], one["tm"])


def test_controls_show_what_noise_and_a_minimisation_reach():
    model, w = fold(2), window(20, 7)
    figures = {name: values[:, 0] for name, values in measure(model, [w], [0, 12], 1).items()}
    assert figures["adam_energy_kt"][1] < figures["energy_kt"][0] - 0.1
    assert figures["noise_moved_angstrom"][1] != pytest.approx(figures["moved_angstrom"][1])
    reach = ("moved_angstrom", "clipped", "noise_tm", "noise_moved_angstrom", "adam_tm")
    for name in (*reach, "adam_rmsd_angstrom", "adam_energy_kt"):
        assert np.isnan(figures[name][0])
        assert np.isfinite(figures[name][1])


# Windows


def test_windows_are_of_the_parts_and_their_controls_of_the_same_letters(inputs):
    domains, split = inputs
    windows = draw_windows(domains, split, ["train", "test"], 9, 12, 1)
    by_id = {domain.id: domain for domain in domains}
    train = split.ids("train")
    chosen = sorted(w.id for w in windows if w.part == "train")
    assert chosen == sorted(train[k * len(train) // 9] for k in range(9))
    assert sorted(w.id for w in windows if w.part == "test") == sorted(split.ids("test")[:9])
    for part in ("train", "test"):
        assert [w.number for w in windows if w.part == part] == list(
            range(sum(w.part == part for w in windows))
        )
    moved = 0
    for w in windows:
        domain = by_id[w.id]
        n = len(w.s)
        assert n == min(len(domain), 12)
        starts = [k for k in range(len(domain)) if (domain.ca[k] == w.native[0]).all()]
        (start,) = starts
        np.testing.assert_array_equal(domain.ca[start : start + n], w.native)
        letters = "".join(AMINO_ACIDS[k] for k in w.s.argmax(1))
        assert letters == domain.sequence[start : start + n]
        assert w.level == split.places[w.id].level
        np.testing.assert_array_equal(sorted(w.shuffled.argmax(1)), sorted(w.s.argmax(1)))
        moved += not np.array_equal(w.shuffled, w.s)
        if w.swapped is not None:
            assert w.swapped.shape == w.s.shape
            other = "".join(AMINO_ACIDS[k] for k in w.swapped.argmax(1))
            assert any(other in d.sequence for d in domains if d.id != w.id)
            assert other != letters
    assert moved == len(windows)
    assert sum(w.swapped is not None for w in windows if w.part == "train") >= 8


def test_the_sequence_of_a_relative_is_no_control(inputs):
    domains, split = inputs
    related = [replace(domain, cluster="one") for domain in domains]
    assert all(w.swapped is None for w in draw_windows(related, split, ["train"], 9, 10, 1))


def test_whole_domains_are_complete_unbroken_and_of_these_lengths(inputs):
    domains, split = inputs
    broken = [replace(d, breaks=(5,)) if k % 3 == 0 else d for k, d in enumerate(domains)]
    windows = draw_windows(broken, split, ["train"], 99, 14, 1, whole_from=12)
    expected = {d.id for d in broken if not d.breaks and 12 <= len(d) <= 14}
    assert {w.id for w in windows} == expected & set(split.ids("train"))
    by_id = {d.id: d for d in domains}
    for w in windows:
        np.testing.assert_array_equal(w.native, by_id[w.id].ca)
    with raises(InputError, "train", "17", "20", "chain breaks", "--part"):
        draw_windows(domains, split, ["train"], 9, 20, 1, whole_from=17)


def test_foreign_structures_are_of_other_clusters_and_cut_to_the_same_length(inputs):
    domains, split = inputs
    paired = [replace(domain, cluster=f"c{k // 2}") for k, domain in enumerate(domains)]
    windows = draw_windows(paired, split, ["train"], 99, 99, 1)
    cluster = {d.id: d.cluster for d in paired}
    for w in windows:
        n = len(w.s)
        allowed = [o for o in windows if len(o.s) >= n and cluster[o.id] != cluster[w.id]]
        found = [next(o.id for o in allowed if (o.native[:n] == x).all()) for x in w.foreign]
        assert len(set(found)) == len(found) == len(allowed)
    assert min(len(w.foreign) for w in windows) < 10 < max(len(w.foreign) for w in windows)


def test_no_window_is_its_own_control(inputs):
    domains, split = inputs
    unknown = [replace(domain, cluster="") for domain in domains]
    for seed in range(5):
        windows = draw_windows(unknown, split, ["train"], 3, 10, seed)
        assert not any(np.array_equal(w.swapped, w.s) for w in windows)


def test_a_window_without_a_swap_has_no_gap():
    w = window(20, 9)
    figures = measure(Answers((w.s, w.native)), [w._replace(swapped=None)], [0], 0)
    assert np.isnan(figures["swapped_gap"]).all()
    assert figures["shuffled_gap"] > 0.5


def test_profiles_are_given_to_profile_models_alone(inputs):
    domains, split = inputs
    profiles = {d.id: np.full((len(d), 20), 0.25) for d in domains if d.id != "d0"}
    windows = draw_windows(domains, split, ["train"], 99, 12, 1, profiles)
    assert {w.id for w in windows} == set(split.ids("train")) - {"d0"}
    assert all(w.s.shape[1] == 41 and (w.shuffled[:, 20:40] == 0.25).all() for w in windows)
    torch.manual_seed(1)
    with_profile = NemoModel(NemoConfig.preset("tiny", profile=True))
    candidates = [Candidate("p", "p", with_profile), Candidate("s", "s", tiny(1))]
    found = compare(candidates, windows[:2], [1], 1, workers=1)
    assert np.isfinite(found.figures["tm"]).all()
    plain = draw_windows(domains, split, ["train"], 99, 12, 1)
    with raises(InputError, "--profiles", "--profile-kind"):
        compare(candidates, plain, [1], 1, workers=1)
    # A model that works without a profile is compared without one.
    config = replace(with_profile.config, encoders=("one-hot", "profile", "has-profile"))
    found = compare([Candidate("o", "o", NemoModel(config))], plain[:2], [1], 1, workers=1)
    assert np.isfinite(found.figures["tm"]).all()
    with raises(InputError, "domains", "profiles"):
        draw_windows(domains, split, ["test"], 9, 12, 1, {"other": np.zeros((3, 20))})


def test_the_same_model_twice_is_not_two_seeds():
    candidates = [Candidate("a", name, tiny(1)) for name in ("one", "two")]
    with raises(InputError, "one", "two", "same model"):
        compare(candidates, [window(20, 1)], [1], 1, workers=1)


def test_a_model_that_has_seen_the_test_is_refused(inputs):
    domains, split = inputs
    windows = draw_windows(domains, split, ["train", "test"], 9, 12, 1)
    check_splits({"a": split}, windows)
    name = next(w.id for w in windows if w.part == "test")
    leaky = SimpleNamespace(places=split.places | {name: split.places[split.ids("train")[0]]})
    with raises(InputError, "b", 1, name):
        check_splits({"a": split, "b": leaky}, windows)


# Tables


@pytest.fixture
def made_up() -> Comparison:
    """Two seeds of one model with energy and one baseline, on three windows of the test and one of training."""
    parts = [("train", ""), ("test", "C"), ("test", "C"), ("test", "H")]
    windows = [window(20, k, 0, *place) for k, place in enumerate(parts)]
    tm = np.array(
        [
            [[0.2, 0.1, 0.2, 0.3], [0.9, 0.3, 0.4, 0.8]],
            [[0.2, 0.3, 0.4, 0.5], [0.7, 0.4, 0.5, 0.9]],
            [[0.5, 0.2, 0.1, 0.3], [np.nan] * 4],
        ]
    )
    figures = {name: np.full(tm.shape, np.nan) for name in FIGURES} | {"tm": tm}
    figures["rmsd_angstrom"] = np.where(np.isnan(tm), np.nan, 10.0)
    figures["rmsd_angstrom"][0, 1, 3] = np.inf
    figures["contact_precision"][:2, 1, 1:3] = [[0.5, np.nan], [0.1, 0.3]]
    return Comparison(("nemo", "nemo", "rnn"), ("x", "y", "z"), tuple(windows), (0, 20), figures)


def test_spreads_are_over_the_seeds_of_a_group(made_up):
    lines = list(comparison_lines(made_up))
    start = lines.index("test: 3 windows, structures")
    block = [line.split() for line in lines[start + 2 : start + 11]]
    # Seeds after 20 steps: means 0.5 and 0.6; before: 0.2 and 0.4.
    assert block[0][:8] == ["all", "3", "nemo", "0", "2", "0.300", "±", "0.141"]
    assert block[1][:9] == ["all", "3", "nemo", "20", "2", "0.550", "±", "0.071", "inf"]
    assert block[2][:6] == ["all", "3", "rnn", "0", "1", "0.200"]
    # Contacts: one seed knows one window, the other two.
    assert block[1][9:12] == ["0.350", "±", "0.212"]
    assert "rnn   20" not in "\n".join(lines)
    assert [row[:2] for row in block[3:]] == [["C", "2"]] * 3 + [["H", "1"]] * 3
    # The level C: means of 0.15 and 0.35.
    assert block[3][4:8] == ["2", "0.250", "±", "0.141"]
    assert lines[start + 11] == ""


def test_the_paired_test_is_that_of_the_textbook(made_up):
    inside = made_up.inside(["test"])
    found = {(d.other, d.other_steps): d for d in paired_differences(made_up, inside)}
    assert found.keys() == {("nemo", 0), ("rnn", 0)}
    difference = found["rnn", 0]
    apart = np.array([0.35 - 0.2, 0.45 - 0.1, 0.85 - 0.3])
    error = np.sqrt(((apart - 0.35) ** 2).sum() / 2 / 3)
    assert (difference.group, difference.steps, difference.n_windows) == ("nemo", 20, 3)
    mean, se, p = difference.tests["tm"]
    assert mean == pytest.approx(0.35)
    assert se == pytest.approx(error)
    assert p == pytest.approx(2 * student.sf(0.35 / error, 2))
    # One RMSD is infinite, and nothing is known of the drift.
    assert difference.tests["rmsd_angstrom"].mean == np.inf
    assert np.isnan(difference.tests["rmsd_angstrom"].p)
    assert "drift_angstrom" not in difference.tests
    (alone,) = paired_differences(made_up, made_up.inside(["train"]))[1:]
    assert np.isnan(alone.tests["tm"][1:]).all()


def test_groups_are_tested_at_each_level_of_held_out_parts(made_up):
    found = {table.heading: table.cells for table in tables(made_up)}
    cells = found["test: differences on 3 windows"]
    assert cells[0][:8] == ("level", "model", "steps", "minus", "steps", "windows", "TM", "s.e.")
    who = [("nemo", "20", "nemo", "0"), ("nemo", "20", "rnn", "0")]
    blocks = [("all", "3"), ("C", "2"), ("H", "1")]
    assert [row[:6] for row in cells[1:]] == [(level, *w, n) for level, n in blocks for w in who]
    # Differences to the baseline at level C: 0.15 and 0.35.
    p = 2 * student.sf(0.25 / 0.1, 1)
    assert cells[4][6:9] == ("+0.2500", "0.1000", f"{p:.2g}")
    assert cells[6][6:9] == ("+0.5500", "-", "-")
    assert found["train: differences on 1 windows"][0][:2] == ("model", "steps")


def test_each_kind_of_figure_has_its_table(made_up):
    known = made_up.figures
    known["tm_lowest"] = known["tm"] / 2
    known["energy_gap_kt"][:2, 1] = [[1, 2, 3, 4], [2, 3, 4, 5]]
    known["pairs_l5_6"][:2] = 0.25
    known["structures_l5_6"][:2] = [[[0.5] * 4, [0.75] * 4]] * 2
    known["separation_l5_6"][:] = 0.125
    known["adam_tm"][:2, 1] = 0.375
    found = {table.heading: table.cells for table in tables(replace(made_up, n_samples=2))}
    assert found["train: 1 windows, energy"] == [
        ("model", "steps", "seeds", "gap (kT)"),
        ("nemo", "20", "2", "1.50 ± 0.71"),
    ]
    assert found["train: 1 windows, contacts"] == [
        ("model", "steps", "seeds", "by", "L/5, ≥ 6"),
        ("nemo", "-", "2", "pair term", "0.250 ± 0.000"),
        ("nemo", "0", "2", "structures", "0.500 ± 0.000"),
        ("nemo", "20", "2", "structures", "0.750 ± 0.000"),
        ("-", "-", "-", "separation", "0.125"),
    ]
    assert found["train: 1 windows, reach"][1] == ("nemo", "20", "2", "0.375 ± 0.000")
    chosen = found["train: 1 windows, chosen samples"]
    assert chosen[0][3:5] == ("TM: mean", "TM: lowest U")
    assert chosen[1][4] == "0.100 ± 0.000"
    lowest = found["test: differences on 3 windows, samples of lowest U"]
    assert lowest[1][:7] == ("all", "nemo", "20", "nemo", "0", "3", "+0.1250")
    alone = {table.heading for table in tables(made_up)}
    assert not any("chosen" in heading or "lowest" in heading for heading in alone)


def test_legends_are_given_once(made_up, tmp_path):
    write_comparison(tmp_path, made_up, "A title")
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert text.count("Means over windows") == text.count("paired t-test") == 1
    assert text.count("## train") == text.count("## test") == 2
    assert "|---|--:|---|--:|--:|" in text


def test_files_have_a_line_for_each_model_and_each_window(made_up, tmp_path):
    write_comparison(tmp_path, made_up, "A title")
    with open(tmp_path / "compare.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Two seeds at two steps and a baseline at one, for training, the test and its two levels.
    assert len(rows) == 5 * 4
    (row,) = (
        row
        for row in rows
        if (row["source"], row["part"], row["level"], row["steps"]) == ("y", "test", "", "20")
    )
    assert (row["group"], row["seed"], row["windows"], row["tm"]) == ("nemo", "2", "3", "0.6")
    assert [row["not_finite"] for row in rows if row["source"] == "x" and row["level"] == "H"] == [
        "0",
        "1",
    ]
    with open(tmp_path / "windows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 4
    assert [row["tm"] for row in rows if row["id"] == "w3"] == ["0.3", "0.8", "0.5", "0.9", "0.3"]
    text = (tmp_path / "compare.md").read_text()
    assert text.startswith("# A title\n")
    assert "| nemo | 0 | 2 | 0.300 ± 0.141 |" in text
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in tmp_path.iterdir()} == {
        "compare.csv",
        "compare.md",
        "compare.png",
        "windows.csv",
    }
