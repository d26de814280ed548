"""Comparison of models with each other and with controls."""
