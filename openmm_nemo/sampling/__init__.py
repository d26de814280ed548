"""Ensembles of independent structures of many proteins."""
