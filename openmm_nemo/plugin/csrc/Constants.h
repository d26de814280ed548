#ifndef OPENMM_NEMO_CONSTANTS_H_
#define OPENMM_NEMO_CONSTANTS_H_

namespace OpenMMNemo {

// Constants shared by the step on the host, the GPU kernels and the Metropolis sampler.

const double PI = 3.14159265358979323846;
const double ANGSTROM_PER_NM = 10;
const double GAS_CONSTANT = 8.31446261815324e-3; // kJ/(mol K), CODATA 2018

const double DEFAULT_TEMPERATURE = 300;      // kelvin
const double DEFAULT_MAX_DISPLACEMENT = 0.2; // nm per step
const int LARGEST_SEED = 2147483647;

// Bonds (in Angstrom) and sines of angles count as no smaller than this.
const double SHORTEST = 1e-6;
// Angles of rotation up to this, in radian, count as zero.
const double SMALLEST_ROTATION = 1e-8;
// The ridge added to an inertia tensor, which makes it invertible for collinear points: a fraction of its trace at the
// level of rounding in double or in single precision, and a floor in Angstrom^2.
const double RIDGE = 2e-15;
const double RIDGE_SINGLE = 1e-6;
const double RIDGE_FLOOR = 1e-15;
// GPU platforms store forces as fixed-point numbers: those that were not finite are at least this large, in kJ/mol/nm.
const double LARGEST_FORCE = 2147480000.0;

/** Streams of noise of a step. */
enum Stream { CartesianStream = 0, InternalStream = 1, AcceptanceStream = 2 };

} // namespace OpenMMNemo

#endif
