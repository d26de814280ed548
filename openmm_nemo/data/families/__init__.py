"""Relatives of a protein: alignments, profiles and the search for homologues."""
