"""Simulations in folders, which can be interrupted and resumed, and their plots."""
