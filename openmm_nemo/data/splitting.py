"""Splits into training, validation and test by the hierarchy of CATH and by sequence clusters.

No group that is held out at a level occurs in training, and no sequence cluster is on two sides; domains that would
break this are left unused. The reason for each domain's place is recorded.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.folds import with_fold_of
from openmm_nemo.data.sets.identity import clusters_of, identity_to
from openmm_nemo.data.sets.labels import is_cath_code
from openmm_nemo.data.splits import (
    BY_CLUSTER,
    BY_CODE,
    BY_TRANSFER,
    EXTENDED,
    HELD_OUT,
    LEVELS,
    NO_CODE,
    OTHER_CLASS,
    RELATED,
    RELATIVE,
    REPEATED,
    SAME_AS,
    SIMILAR,
    SIMILAR_FOLD,
    TOO_SHORT,
    TRANSFER_HELD_OUT,
    TWO_SIDES,
    UNLIKE_ALL,
    Place,
    Split,
    digest_of,
)
from openmm_nemo.errors import InputError
from openmm_nemo.progress import Progress, silent

SPLIT_CLASSES = ("1", "2", "3")
"""The classes that are divided into training, validation and test (paper, appendix B.1)."""

Group = tuple[str, ...]
Codes = tuple[Group, ...]
Groups = dict[str, dict[str, list[Group]]]


def make_split(
    domains: Sequence[Domain],
    seed: int,
    validation: float = 0.03,
    test: float = 0.03,
    test_classes: Iterable[str] = ("4",),
    workers: int | None = None,
    max_rg_ratio: float | None = None,
    folds: bool = True,
    progress: Progress = silent,
) -> Split:
    """Hold out whole groups of CATH, drawn at random, for validation and test (paper, appendix B.1).

    Test gets the whole of the classes ``test_classes``. From the other domains of classes 1 to 3, test and then
    validation get architectures, then topologies, then superfamilies, in random order, until no more fit into the share
    of that level; a group is skipped if nothing else of the group above it would remain for training. So validation and
    test share no held-out group, and validation reveals nothing about the groups of test. The rest is for training.

    Only domains with their own codes are held out. Of the others, these are used for training:

    - Domains with codes of a similar domain (`Domain.cath_source`), unless a code belongs to a held-out group. A code
      by structure has no superfamily: it may be above a held-out superfamily, which is held out only by sequence.
    - Domains without a code because no domain with one is similar.
    - Other domains without a code may belong to any group. Only those in a cluster with members that have codes are
      used.

    All members of their clusters that have codes must also be in training.

    Also left unused, with the reason in `Place`:

    - Domains more extended than ``max_rg_ratio``.
    - Domains that are the same as one that is not in the set, which may have been kept for tests.
    - Domains of other classes (4 and 6 are small and have few or no globular folds; holding out one of 1 to 3 costs a
      third of the data).
    - Domains with several codes that belong to different parts.
    - Domains whose code is incomplete and may belong to a held-out group.
    - Domains whose sequence cluster has members in several parts, except those of the part that has most of them.
    - Held-out domains if a training domain with its own codes contains 30% or more of their sequence, though in another
      cluster: chains that contain a domain which their codes do not name.
    - Other training domains whose sequence is similar to that of a held-out domain (E-value up to 0.001), however low
      the identity: they are homologous and thus nearly always have the same fold.
    - Training domains without codes, or with codes for a part only, that contain the fold of a domain held out at C, A
      or T; see `openmm_nemo.data.sets.folds.with_fold_of`.

    Parameters
    ----------
    domains : sequence of Domain
        Their order does not matter. Clusters at 30% identity are computed if a domain lacks one, see `clusters_of`.
    seed : int
        Random seed.
    validation, test : float
        Maximum fraction of the domains to be divided that is held out at each of the levels A, T and H.
    test_classes : iterable of str
        Numbers of classes.
    workers : int, optional
        Number of processes. Default: one per processor.
    max_rg_ratio : float, optional
        Largest radius of gyration, as a multiple of that of a globule of the same length, see `Domain.rg_ratio`.
        More extended ones are peptides, coiled coils and chains from complexes. Default: no limit.
    folds : bool
        Whether to compare structures, which takes seconds for each held-out domain if there are thousands of
        domains without codes. Without it, the folds of held-out domains may occur in them.
    progress : callable
        Shows progress, see `openmm_nemo.progress.progress`. Default: nothing is shown.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If there are no codes, one is malformed, the fractions leave nothing for a part, or TM-align is not installed.
    """
    shares = {"test": test, "validation": validation}
    test_classes = sorted(set(test_classes))
    _check_options(shares, test_classes)
    every = sorted(domains, key=lambda domain: domain.id)
    left_out = _left_out(every, max_rg_ratio)
    domains = [domain for domain in every if domain.id not in left_out]
    codes = {domain.id: _codes_of(domain) for domain in domains}
    sources = {domain.id: domain.cath_source for domain in domains}
    own = {name: () if sources[name] else of_domain for name, of_domain in codes.items()}
    if not any(own.values()):
        raise InputError(
            f"None of {len(codes)} domains has a CATH code of its own: "
            "give codes to 'openmm-nemo data build' with --labels."
        )
    held_out = _draw(own, seed, shares, test_classes)
    places = _place_by_codes(codes, sources, held_out)
    clusters = dict(zip(codes, clusters_of(domains, workers), strict=True))
    places = _place_by_clusters(places, codes, sources, clusters)
    places = _with_levels(_with_identities(places, own, domains, workers, progress), codes)
    if folds:
        places = _with_folds(places, domains, workers, progress)
    places |= left_out
    names = {
        part: {level: tuple(map(".".join, groups)) for level, groups in levels.items()}
        for part, levels in held_out.items()
    }
    split = Split(
        seed,
        validation,
        test,
        names,
        digest_of(every),
        dict(sorted(places.items())),
        max_rg_ratio,
        folds,
    )
    for part in ("train", *(part for part, share in shares.items() if share)):
        if not split.ids(part):
            raise InputError(
                f"This split of {len(every)} domains leaves none for {part}: "
                "give other shares, or more domains with CATH codes."
            )
    return split


def _check_options(shares: dict[str, float], test_classes: list[str]) -> None:
    for part, share in shares.items():
        if not 0 <= share < 1:
            raise InputError(f"The share of {part} is {share}: give a number from 0 to below 1.")
    if 3 * sum(shares.values()) >= 1:
        raise InputError(
            f"Validation {shares['validation']} and test {shares['test']} at each of three levels are the whole set: "
            "give shares whose sum is less than a third."
        )
    for name in test_classes:
        if not is_cath_code(name) or "." in name:
            raise InputError(f"{name!r} is not a class of CATH: give its number, such as 4.")


def _left_out(domains: Sequence[Domain], max_rg_ratio: float | None) -> dict[str, Place]:
    """Domains that are left unused, whatever their codes are."""
    there = {domain.id for domain in domains}
    copies = [d.id for d in domains if d.same_as and d.same_as not in there]
    extended = [d.id for d in domains if max_rg_ratio is not None and d.rg_ratio > max_rg_ratio]
    return dict.fromkeys(extended, Place("unused", reason=EXTENDED)) | dict.fromkeys(
        copies, Place("unused", reason=SAME_AS)
    )


def _codes_of(domain: Domain) -> Codes:
    for code in domain.cath:
        if not is_cath_code(code):
            raise InputError(
                f"Domain {domain.id} has {code!r} as CATH code: build the set with codes like 1.10.490.10."
            )
    return tuple(tuple(code.split(".")) for code in domain.cath)


def _draw(
    codes: dict[str, Codes], seed: int, shares: dict[str, float], test_classes: list[str]
) -> Groups:
    """Held-out groups by part and level."""
    rng = np.random.default_rng(seed)
    held_out: Groups = {part: {level: [] for level in LEVELS} for part in HELD_OUT}
    present = {code[0] for of_domain in codes.values() for code in of_domain}
    held_out["test"]["C"] = [(name,) for name in test_classes if name in present]
    divided = set(SPLIT_CLASSES) - set(test_classes)
    left = {
        name
        for name, of_domain in codes.items()
        if of_domain and all(code[0] in divided for code in of_domain)
    }
    room = {part: share * len(left) for part, share in shares.items()}
    for depth, level in enumerate(LEVELS[1:], start=2):
        members = defaultdict(set)
        for name in left:
            for code in codes[name]:
                members[code[: depth - 1]].add(name)
                members[code[:depth]].add(name)
        groups = sorted(group for group in members if len(group) == depth)
        for part in HELD_OUT:
            taken = 0
            for i in rng.permutation(len(groups)):
                group = groups[i]
                inside = members[group] & left
                stays = members[group[:-1]] & left - inside
                if inside and stays and taken + len(inside) <= room[part]:
                    held_out[part][level].append(group)
                    taken += len(inside)
                    left -= inside
            held_out[part][level].sort(key=_numbers)
    return held_out


def _place_by_codes(
    codes: dict[str, Codes], sources: dict[str, str], held_out: Groups
) -> dict[str, Place]:
    part_of_group = {
        group: part
        for part, levels in held_out.items()
        for groups in levels.values()
        for group in groups
    }
    # By structure, the fold is known but not the superfamily.
    n_known = {"structure": len(LEVELS) - 1}
    above = {
        depth: {
            group[:n]
            for group in part_of_group
            if len(group) <= depth
            for n in range(1, len(group))
        }
        for depth in (len(LEVELS), *n_known.values())
    }

    def side(code: Group, depth: int) -> str:
        """The part that this code belongs to, or the reason why it belongs to none."""
        for n in range(1, len(code) + 1):
            if code[:n] in part_of_group:
                return part_of_group[code[:n]]
        if code[0] not in SPLIT_CLASSES:
            return OTHER_CLASS
        return TOO_SHORT if code in above[depth] else "train"

    def place(name: str, of_domain: Codes) -> Place:
        source = sources[name]
        sides = {side(code, n_known.get(source, len(LEVELS))) for code in of_domain}
        if not sides:
            return Place("unused", reason=NO_CODE)
        if source and sides & set(HELD_OUT):
            return Place("unused", reason=TRANSFER_HELD_OUT)
        for reason in (OTHER_CLASS, TOO_SHORT):
            if reason in sides:
                return Place("unused", reason=reason)
        if len(sides) > 1:
            return Place("unused", reason=TWO_SIDES)
        return Place(sides.pop(), reason=BY_TRANSFER if source else BY_CODE)

    return {name: place(name, of_domain) for name, of_domain in codes.items()}


def _place_by_clusters(
    places: dict[str, Place],
    codes: dict[str, Codes],
    sources: dict[str, str],
    clusters: dict[str, str],
) -> dict[str, Place]:
    """Restrict each cluster to one part."""
    own: dict[str, Counter[str]] = defaultdict(Counter)
    coded: dict[str, set[str]] = defaultdict(set)
    for name, place in places.items():
        if codes[name]:
            coded[clusters[name]].add(place.part)
            if not sources[name]:
                own[clusters[name]][place.part] += 1

    def placed(name: str, place: Place) -> Place:
        parts = coded[clusters[name]]
        if sources[name] or not codes[name]:
            if place.part == "unused" and codes[name]:
                return place
            if not sources[name]:
                return Place("train", reason=BY_CLUSTER) if parts == {"train"} else place
            if not parts <= {"train"}:
                return Place("unused", reason=RELATED)
            if codes[name]:
                return place
            return Place("train", reason=BY_CLUSTER if parts else UNLIKE_ALL)
        # If counts are equal, max takes the first: held-out domains are rarer.
        home = max((*HELD_OUT, "train"), key=lambda part: own[clusters[name]][part])
        if place.part in (home, "unused"):
            return place
        return Place("unused", reason=RELATIVE)

    return {name: placed(name, place) for name, place in places.items()}


def _with_levels(places: dict[str, Place], codes: dict[str, Codes]) -> dict[str, Place]:
    known = {
        code[:n]
        for name, place in places.items()
        if place.part == "train"
        for code in codes[name]
        for n in range(1, len(code) + 1)
    }

    def level(name: str) -> str:
        return next(
            level
            for n, level in enumerate(LEVELS, start=1)
            if all(code[:n] not in known for code in codes[name])
        )

    return {
        name: place._replace(level=level(name)) if place.part in HELD_OUT else place
        for name, place in places.items()
    }


def _with_identities(
    places: dict[str, Place],
    own: dict[str, Codes],
    domains: Sequence[Domain],
    workers: int | None,
    progress: Progress,
) -> dict[str, Place]:
    """Compare held-out domains with training; of two that are similar, the more dispensable one is left unused."""
    held_out = [domain for domain in domains if places[domain.id].part in HELD_OUT]
    train = [domain for domain in domains if places[domain.id].part == "train"]
    with progress("Comparing sequences of held-out domains", 0, len(held_out)) as update:
        found = identity_to(
            [domain.sequence for domain in held_out],
            [domain.sequence for domain in train],
            workers,
            update,
        )
    changed: dict[str, Place] = {}
    kept: list[int] = []
    for i, domain in enumerate(held_out):
        if any(own[train[k].id] for k in found.repeated_in[i]):
            changed[domain.id] = Place("unused", reason=REPEATED)
        else:
            kept.append(i)
    spared = {k for i in kept for k in found.related[i] if not own[train[k].id]}
    changed |= {train[k].id: Place("unused", reason=SIMILAR) for k in spared}
    identity = found.identity.copy()
    again = [i for i in kept if found.nearest[i] in spared]
    rest = [domain.sequence for k, domain in enumerate(train) if k not in spared]
    identity[again] = identity_to([held_out[i].sequence for i in again], rest, workers).identity
    for i in kept:
        place = places[held_out[i].id]
        changed[held_out[i].id] = place._replace(identity=round(float(identity[i]), 4))
    return places | changed


def _with_folds(
    places: dict[str, Place],
    domains: Sequence[Domain],
    workers: int | None,
    progress: Progress,
) -> dict[str, Place]:
    """Leave out training domains that may contain a held-out fold which their codes do not tell."""
    # At the level H, other superfamilies of the same fold are in training.
    held_out = [d for d in domains if places[d.id].part in HELD_OUT and places[d.id].level != "H"]
    unknown = [
        d
        for d in domains
        if places[d.id].part == "train" and (not d.cath or d.cath_source == "seq_part")
    ]
    with progress("Comparing folds of held-out domains", 0, len(held_out)) as update:
        found = with_fold_of(held_out, unknown, workers, update)
    similar = {unknown[number].id for numbers in found for number in numbers}
    return places | {name: Place("unused", reason=SIMILAR_FOLD) for name in similar}


def _numbers(group: Group) -> tuple[int, ...]:
    return tuple(map(int, group))
