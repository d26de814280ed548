"""Models against each other and against controls."""
