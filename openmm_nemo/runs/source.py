"""The structure that a run was started from, as its record names it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmm_nemo.data.structures import SourceFile, Structure
from openmm_nemo.residues import Numbering


@dataclass(frozen=True)
class SourceStructure:
    """A chain, or a segment of one, in a file; or several chains.

    Attributes
    ----------
    files : list of dict
        ``path``, ``name`` and ``sha256`` of the file; for a frame, of the trajectory and its topology.
    chain : str
        Chain name as given in the file; of a complex, all, with colons between them.
    model : int
        Model number as given in the file.
    model_index : int
        Position of the model in the file, from 1.
    segment : str
        First and last residue, as in "2-152"; of a complex, of each chain, as in "2-152:1-30".
    frame : int or None
        Index of the frame in the trajectory, from 0; None for a structure file.
    residue_ids : list of str
        Author numbering with insertion code, length L.
    chain_lengths : list of int
        Number of residues of each chain of a complex; empty for one chain.
    """

    files: list[dict[str, str]]
    chain: str
    model: int
    model_index: int
    segment: str
    frame: int | None
    residue_ids: list[str]
    chain_lengths: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, structure: Structure, paths: Sequence[Path]) -> "SourceStructure":
        """Source of a structure that was read from files at ``paths``, in the order of its ``sources``."""
        return cls(
            files=[
                {"path": str(path.resolve()), **file._asdict()}
                for path, file in zip(paths, structure.sources, strict=True)
            ],
            chain=structure.chain,
            model=structure.model,
            model_index=structure.model_index,
            segment=structure.segment,
            frame=structure.frame,
            residue_ids=list(structure.residue_ids),
            chain_lengths=list(structure.chain_lengths),
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None) -> "SourceStructure | None":
        """Source from its values in a record, if there are any."""
        return None if values is None else cls(**values)

    @property
    def numbering(self) -> Numbering:
        """Names of the chain, or chains, and their residues."""
        return Numbering(self.chain, tuple(self.residue_ids), tuple(self.chain_lengths))

    def changed_files(self) -> list[str]:
        """Names of the files that are still in their places, but have other contents."""
        there = [file for file in self.files if Path(file["path"]).is_file()]
        return [
            file["name"]
            for file in there
            if SourceFile.of(Path(file["path"])).sha256 != file["sha256"]
        ]
