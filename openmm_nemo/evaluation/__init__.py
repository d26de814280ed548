"""Comparison of structures, and of ensembles with native structures."""

from openmm_nemo.evaluation.assessment import Assessment, assess, complete_linkage, three_d_jury
from openmm_nemo.evaluation.tables import (
    table_by_clusters,
    table_by_level,
    table_lines,
    write_assessments,
)
from openmm_nemo.evaluation.tm_align import pairwise_tm, tm_to_native
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.similarity import (
    contact_precision,
    gdt_ts,
    lddt_ca,
    radius_of_gyration,
    tm_score,
)

__all__ = [
    "Assessment",
    "assess",
    "complete_linkage",
    "contact_precision",
    "gdt_ts",
    "lddt_ca",
    "pairwise_tm",
    "radius_of_gyration",
    "rmsd",
    "table_by_clusters",
    "table_by_level",
    "table_lines",
    "three_d_jury",
    "tm_score",
    "tm_to_native",
    "write_assessments",
]
