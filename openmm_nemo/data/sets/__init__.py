"""Sets of domains on disk: how they are built, labelled, described and read."""
