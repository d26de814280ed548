"""What holds for all tests."""

import os

# Threads that wait for each other make small networks slow, and very slow where other programs run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
