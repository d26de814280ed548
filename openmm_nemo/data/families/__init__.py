"""Relatives of a protein: alignments, profiles of them, and the search for them."""
