#ifndef OPENMM_NEMO_VECTORMATH_H_
#define OPENMM_NEMO_VECTORMATH_H_

#include "Constants.h"
#include <cstdint>

namespace OpenMMNemo {

/**
 * Standard normal numbers of one stream: Philox 4x32-10 (key = seed, replica; counter = step, chain, bead, stream),
 * Box-Muller. Fills out[0..2] with n numbers each, one per bead.
 */
void langevinNoise(uint32_t seed, uint32_t replica, uint32_t step, uint32_t chain, Stream stream, int n,
                   double* const out[3]);

/** Two independent uniform numbers of a step of a replica, in (0, 1). */
void acceptanceNumbers(uint32_t seed, uint32_t replica, uint32_t step, double out[2]);

/** a[i] = atan2(sine[i], cosine[i]) and slope[i] = 1 - exp(-b[i]). */
void anglesAndSlopes(int n, const double* sine, const double* cosine, const double* b, double* a, double* slope);

} // namespace OpenMMNemo

#endif
