#ifndef OPENMM_NEMO_BASISFUNCTIONS_H_
#define OPENMM_NEMO_BASISFUNCTIONS_H_

namespace OpenMMNemo {

// The functions of the energy terms pair-basis, chain-basis and backbone, in Angstrom and kT. The modules of the same
// names in openmm_nemo/energies are the specification.

const double MODEL_TEMPERATURE = 300; // kelvin: the unit of energy is kT there

// Gaussians of the distance; their centres are one width apart.
const int NUM_RADIAL = 24;
const double NEAREST = 3.5, RADIAL_WIDTH = (21.5 - NEAREST) / (NUM_RADIAL - 1);
// The components of the direction are multiplied by Gaussians of the distance, the shells.
const int NUM_SHELLS = 6;
const double SHELL_CENTRES[NUM_SHELLS] = {5.0, 7.0, 9.0, 12.0, 15.0, 19.0};
const double SHELL_WIDTHS[NUM_SHELLS] = {1.5, 1.5, 2.0, 2.5, 3.0, 3.5};
// Per ordered pair: first the radial ones, then three components for each shell.
const int NUM_PAIR_FUNCTIONS = NUM_RADIAL + 3 * NUM_SHELLS;
// Squared sine of the angle at which a frame has faded by half.
const double STRAIGHT = 0.01;
// All functions of a pair that is farther apart are below 1e-9: it is left out.
const double CUTOFF = 35;
// Pairs that are closer in sequence do not interact.
const int MIN_SEPARATION = 3;

// Gaussians of the cosine of the angle, at 80, 92, 104, 116, 128 and 144 degrees.
const int NUM_ANGLES = 6;
const double ANGLE_CENTRES[NUM_ANGLES] = {0.17364817766693036,  -0.03489949670250097, -0.24192189559966773,
                                          -0.43837114678907735, -0.6156614753256583,  -0.8090169943749475};
const double ANGLE_WIDTH = 0.18;
// Cosine and sine of 1, 2 and 3 times the dihedral, each times 1, cos(a) and cos(2 a).
const int NUM_CHAIN_FUNCTIONS = NUM_ANGLES + 18;
const double SMOOTHING = 0.01;

const double BOND_LENGTH = 3.8, BOND_WIDTH = 0.3, BOND_STRENGTH = 12;
const double CORE_DIAMETER = 4.2, CORE_STIFFNESS = 6;

} // namespace OpenMMNemo

#endif
