"""What simulations sampled: measures over time, free energies, slow motions, and whether it is the Boltzmann
distribution."""
