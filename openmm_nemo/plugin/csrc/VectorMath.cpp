// Loops over transcendental functions, in a file of their own: it is compiled with options under which the compiler
// calls the vector versions in the C library (within 4 units in the last place), several times faster than one call per
// bead.
#include "VectorMath.h"
#include "Vectorized.h"
#include <cmath>
#include <vector>

namespace OpenMMNemo {

static const double CELL = 1.0 / 4294967296.0, TURN = 2 * PI * CELL;

/** Four words for each of n beads. */
VECTORIZED static void philox(uint32_t seed, uint32_t replica, uint32_t step, uint32_t chain, uint32_t stream, int n,
                              double* __restrict w0, double* __restrict w1, double* __restrict w2,
                              double* __restrict w3) {
    for (int bead = 0; bead < n; bead++) {
        // 32-bit numbers, stored as wide as their products.
        uint64_t c0 = step, c1 = chain, c2 = bead, c3 = stream;
        uint32_t k0 = seed, k1 = replica;
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = 0xD2511F53u * c0, p1 = 0xCD9E8D57u * c2;
            c0 = (p1 >> 32) ^ c1 ^ k0;
            c1 = p1 & 0xFFFFFFFFu;
            c2 = (p0 >> 32) ^ c3 ^ k1;
            c3 = p0 & 0xFFFFFFFFu;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        // There is a vector instruction only for signed numbers.
        const uint64_t sign = 0x80000000u;
        w0[bead] = int32_t(c0 ^ sign) + 2147483648.0;
        w1[bead] = int32_t(c1 ^ sign) + 2147483648.0;
        w2[bead] = int32_t(c2 ^ sign) + 2147483648.0;
        w3[bead] = int32_t(c3 ^ sign) + 2147483648.0;
    }
}

VECTORIZED static void boxMuller(int n, const double* w0, const double* w1, const double* w2, const double* w3,
                                 double* __restrict x, double* __restrict y, double* __restrict z) {
    // In separate loops, because sine and cosine of one angle would be merged into a scalar call.
    for (int i = 0; i < n; i++)
        x[i] = std::sqrt(-2 * std::log((w0[i] + 0.5) * CELL));
    for (int i = 0; i < n; i++)
        y[i] = x[i] * std::sin((w1[i] + 0.5) * TURN);
    for (int i = 0; i < n; i++)
        x[i] *= std::cos((w1[i] + 0.5) * TURN);
    for (int i = 0; i < n; i++)
        z[i] = std::sqrt(-2 * std::log((w2[i] + 0.5) * CELL)) * std::cos((w3[i] + 0.5) * TURN);
}

void langevinNoise(uint32_t seed, uint32_t replica, uint32_t step, uint32_t chain, Stream stream, int n,
                   double* const out[3]) {
    static thread_local std::vector<double> w[4];
    for (std::vector<double>& v : w)
        v.resize(n);
    philox(seed, replica, step, chain, stream, n, w[0].data(), w[1].data(), w[2].data(), w[3].data());
    boxMuller(n, w[0].data(), w[1].data(), w[2].data(), w[3].data(), out[0], out[1], out[2]);
}

void acceptanceNumbers(uint32_t seed, uint32_t replica, uint32_t step, double out[2]) {
    double w[4];
    philox(seed, replica, step, 0, AcceptanceStream, 1, w, w + 1, w + 2, w + 3);
    for (int i = 0; i < 2; i++)
        out[i] = (w[i] + 0.5) * CELL;
}

VECTORIZED void anglesAndSlopes(int n, const double* __restrict sine, const double* __restrict cosine,
                                const double* __restrict b, double* __restrict a, double* __restrict slope) {
    for (int i = 0; i < n; i++) {
        a[i] = std::atan2(sine[i], cosine[i]);
        slope[i] = 1 - std::exp(-b[i]);
    }
}

} // namespace OpenMMNemo
