"""Benchmarks: every line is printed side by side with what it is compared with, in the same run."""
