"""Comparison of structures."""

from openmm_nemo.evaluation.metrics import tm_score

__all__ = ["tm_score"]
