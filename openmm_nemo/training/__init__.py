"""Training of the networks in the differentiable simulator."""
