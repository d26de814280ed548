"""Structures, sets of domains, alignments and profiles, for training and comparison."""

from openmm_nemo.data.families.alignments import Alignment, read_alignment
from openmm_nemo.data.families.homologues import search_homologues
from openmm_nemo.data.families.profiles import profile_from_frequencies, read_profiles
from openmm_nemo.data.force_frames import ForceFrames
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.data.splits import Split
from openmm_nemo.data.splitting import make_split
from openmm_nemo.data.structures import Structure, read_frame, read_structure

__all__ = [
    "Alignment",
    "Domain",
    "DomainSet",
    "ForceFrames",
    "Split",
    "Structure",
    "make_split",
    "profile_from_frequencies",
    "read_alignment",
    "read_frame",
    "read_profiles",
    "read_structure",
    "search_homologues",
    "write_domains",
]
