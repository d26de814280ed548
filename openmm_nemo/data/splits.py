"""Splits of sets of domains into training, validation and test, on disk.

`openmm_nemo.data.splitting` makes them.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.data.families.profiles import PROFILE_KINDS
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing, json_digest

LEVELS = "CATH"
"""Class, architecture, topology (fold) and homologous superfamily: a group of the n-th is a code's first n numbers."""

PARTS = ("train", "validation", "test", "unused")
HELD_OUT = ("test", "validation")
"""Parts, in the order in which they draw their groups."""

SPLIT_FILE = "split.json"
"""Name of the file, in a model's folder, with the split that the model was trained on."""

FORMAT = "openmm_nemo split"
VERSION = 3

BY_CODE = "its CATH codes"
BY_TRANSFER = "CATH codes of a similar domain"
BY_CLUSTER = "no CATH code, but all members of its sequence cluster that have one are in training"
UNLIKE_ALL = "no CATH code, because no domain that has one is similar"
"""Reasons for being used."""

EXTENDED = "its radius of gyration is too large for its length"
OTHER_CLASS = "of a class that is neither divided nor held out"
TOO_SHORT = "its CATH code ends above a held-out group"
TWO_SIDES = "its CATH codes belong to different parts"
RELATIVE = "its sequence cluster has more members in another part"
REPEATED = "at least 30% of its sequence occurs in training"
NO_CODE = "no CATH code, and its sequence cluster is not in training"
TRANSFER_HELD_OUT = "CATH codes of a similar domain belong to a held-out group"
RELATED = "its sequence cluster has members with CATH codes that are not in training"
SIMILAR = "its sequence is similar to that of a held-out domain, with an E-value of at most 0.001"
SIMILAR_FOLD = "it contains the fold of a held-out domain (TM-score of at least 0.65)"
SAME_AS = "it is the same as a domain that is not in the set"
"""Reasons for being unused."""

_ABOUT = (
    "Ids of protein domains by part. In validation and test they are listed under the highest level of CATH (C class, "
    "A architecture, T topology, H homologous superfamily) at which none of their groups occurs in train, each with "
    "its sequence identity to the nearest domain in train. In train and unused they are listed under the reason."
)


class Place(NamedTuple):
    """The place of a domain in a split.

    Attributes
    ----------
    part : str
        One of `PARTS`.
    level : str
        One of `LEVELS`: the highest at which none of the domain's groups occurs in training; empty if not held out.
    identity : float, optional
        Sequence identity to the nearest training domain, see `identity_to`; None if not held out.
    reason : str
        Why it is there; empty if the split's file does not say.
    """

    part: str
    level: str = ""
    identity: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Split:
    """A division of a set of domains, see `openmm_nemo.data.make_split`.

    Attributes
    ----------
    seed : int
    validation, test : float
        Maximum fraction of the domains held out at each of the levels A, T and H.
    held_out : dict of str to dict of str to tuple of str
        Groups that were drawn for "validation" and "test", by level.
    domains_sha256 : str
        Checksum of the ids and sequences of the set.
    places : dict of str to Place
        Place of every domain by its id, in the order of the ids.
    max_rg_ratio : float, optional
        More extended domains were left unused, see `openmm_nemo.data.make_split`.
    folds : bool
        Whether training domains without codes were compared with held-out ones by structure.
    """

    seed: int
    validation: float
    test: float
    held_out: dict[str, dict[str, tuple[str, ...]]]
    domains_sha256: str
    places: dict[str, Place]
    max_rg_ratio: float | None = None
    folds: bool = False

    def ids(self, part: str, level: str = "") -> list[str]:
        """Ids of the domains in a part, at one level if given."""
        return [
            name
            for name, place in self.places.items()
            if place.part == part and place.level.startswith(level)
        ]

    def check(self, domains: Collection[Domain]) -> None:
        """Refuse a set of domains other than the one that was split.

        Raises
        ------
        InputError
            If ids or sequences differ; their order and everything else may differ.
        """
        differing = {domain.id for domain in domains} ^ self.places.keys()
        if differing or digest_of(domains) != self.domains_sha256:
            what = f"only one of them has {min(differing)}" if differing else "sequences differ"
            raise InputError(
                f"The split belongs to another set of domains ({what}): "
                "use the set that was split, or split this one with 'openmm-nemo data split'."
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write to a JSON file, which appears when it is complete.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        by_reason: dict[str, dict[str, list[str]]] = {"train": {}, "unused": {}}
        for name, place in self.places.items():
            if place.part in by_reason:
                by_reason[place.part].setdefault(place.reason, []).append(name)
        content: dict[str, Any] = {
            "about": _ABOUT,
            "seed": self.seed,
            "shares": {"validation": self.validation, "test": self.test},
            "max_rg_ratio": self.max_rg_ratio,
            "folds": self.folds,
            "held_out": self.held_out,
            "domains_sha256": self.domains_sha256,
            "train": by_reason["train"],
            **{
                part: {
                    level: {name: self.places[name].identity for name in self.ids(part, level)}
                    for level in LEVELS
                }
                for part in HELD_OUT
            },
            "unused": by_reason["unused"],
        }
        head = {"format": FORMAT, "version": VERSION, "sha256": json_digest(content)}
        try:
            with completing(Path(path)) as partial:
                partial.write_text(json.dumps(head | content, indent=1) + "\n")
        except OSError as error:
            raise InputError(
                f"The split {path} cannot be written ({error.strerror}): choose another place."
            ) from None

    @staticmethod
    def read(path: str | os.PathLike[str]) -> "Split":
        """Read a file written by `write`.

        Raises
        ------
        InputError
            If the file cannot be read, is not a split, or is damaged.
        """
        remedy = "make it again with 'openmm-nemo data split'."
        try:
            content = json.loads(Path(path).read_text())
            if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
                raise InputError(f"{path} is not a split: {remedy}")
            version = content.pop("version", None)
            if version not in (1, 2, VERSION):
                raise InputError(f"{path} was written by another version of openmm_nemo: {remedy}")
            if content.pop("sha256", None) != json_digest(content):
                raise InputError(f"{path} is damaged (its checksum is wrong): {remedy}")
        except OSError as error:
            raise InputError(
                f"The split {path} cannot be read ({error.strerror}): check the file name."
            ) from None
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            raise InputError(f"{path} is not a split, or damaged or cut short: {remedy}") from None
        if version == 1:  # without reasons for training
            content |= {"train": {"": content["train"]}, "max_rg_ratio": None}
        if version < 3:
            content |= {"folds": False}
        places: dict[str, Place] = {}
        for part in ("train", "unused"):
            for reason, names in content[part].items():
                places |= {name: Place(part, reason=reason) for name in names}
        for part in HELD_OUT:
            for level, found in content[part].items():
                places |= {n: Place(part, level, value, BY_CODE) for n, value in found.items()}
        held_out = {
            part: {level: tuple(groups) for level, groups in levels.items()}
            for part, levels in content["held_out"].items()
        }
        return Split(
            content["seed"],
            **content["shares"],
            held_out=held_out,
            domains_sha256=content["domains_sha256"],
            places=dict(sorted(places.items())),
            max_rg_ratio=content["max_rg_ratio"],
            folds=content["folds"],
        )


def describe_split(split: Split, domains: Iterable[Domain]) -> Iterator[str]:
    """Lines of a table: domains, profiles of each kind, and held-out groups by part and level, and reasons.

    Parameters
    ----------
    split : Split
    domains : iterable of Domain
        The set that was split.
    """
    kinds = {domain.id: set(domain.profiles) for domain in domains}

    def counts(names: list[str]) -> str:
        having = (sum(kind in kinds[name] for name in names) for kind in PROFILE_KINDS)
        return "".join(f"{count:9}" for count in (len(names), *having))

    def reasons(part: str) -> Iterator[str]:
        found = Counter(split.places[name].reason for name in split.ids(part))
        for reason, count in found.most_common():
            yield f"  {count:6}  {reason}"

    profiles = "".join(f"{kind:>9}" for kind in PROFILE_KINDS)
    yield f"part        level   groups  domains{profiles}   identity to train: median  90%  largest"
    yield f"{'train':12}{'':14}{counts(split.ids('train'))}"
    yield from reasons("train")
    for part in HELD_OUT:
        for level in LEVELS:
            names = split.ids(part, level)
            groups = split.held_out[part][level]
            if not (names or groups):
                continue
            line = f"{part:12}{level:5}{len(groups):9}{counts(names)}"
            identities = [split.places[name].identity or 0.0 for name in names]
            if names:
                quantiles = np.quantile(identities, (0.5, 0.9, 1))
                line += f"{'':20}" + "".join(f"{value:7.2f}" for value in quantiles)
            yield line
    yield f"{'unused':12}{'':14}{counts(split.ids('unused'))}"
    yield from reasons("unused")


def digest_of(domains: Iterable[Domain]) -> str:
    """Checksum of the ids and sequences of a set, in any order."""
    return json_digest(sorted((domain.id, domain.sequence) for domain in domains))
