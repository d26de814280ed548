"""What holds for all tests."""

import torch

# Threads that wait for each other make small networks slow, and very slow where other programs run.
torch.set_num_threads(1)
