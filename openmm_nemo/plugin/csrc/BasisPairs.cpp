#include "BasisPairs.h"
#include "BasisFunctions.h"
#include "Constants.h"
#include "Vectorized.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

const int WIDTH = BasisPairs::WIDTH;
typedef float Lanes __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Integers __attribute__((vector_size(4 * WIDTH)));
typedef float Unaligned __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

// Radial functions in groups of eight around a pivot, -4 to 3 widths from it: they are powers of one exponential,
// exp(-(z - k)^2) = exp(-z^2) exp(2 z)^k exp(-k^2), and the last factor is part of the coefficients. Beyond FARTHEST
// widths from the pivot they vanish.
const int NUM_PIVOTS = 3, BELOW = 4, ABOVE = 3, GROUP = BELOW + 1 + ABOVE;
static_assert(NUM_PIVOTS * GROUP == NUM_RADIAL, "groups of radial functions");
const float FARTHEST = 9;

// Coefficients per pair: the radial functions of both directions together, then the shells from either side.
const int PER_PAIR = NUM_RADIAL + 6 * NUM_SHELLS;

// Arguments are references because vectors are passed differently by processors that have no registers for them.
#define INLINE inline __attribute__((always_inline))

INLINE const Unaligned& load(const float* p) {
    return *reinterpret_cast<const Unaligned*>(p);
}

INLINE void add(float* p, const Lanes& value) {
    *reinterpret_cast<Unaligned*>(p) += value;
}

INLINE void squareRoot(Lanes& x) {
    for (int k = 0; k < WIDTH; k++)
        x[k] = sqrtf(x[k]);
}

INLINE float sum(const Lanes& x) {
    float total = 0;
    for (int k = 0; k < WIDTH; k++)
        total += x[k];
    return total;
}

INLINE void limit(Lanes& x, float least, float most) {
    const Lanes low = Lanes{} + least, high = Lanes{} + most;
    x = (x < low ? low : x);
    x = (x > high ? high : x);
}

/** x becomes exp(x); at most 85, and never below the smallest normal number. */
INLINE void exponential(Lanes& x) {
    Lanes t = x * 1.44269504f;
    const Lanes least = Lanes{} - 126.0f;
    t = (t < least ? least : t);
    Integers whole = __builtin_convertvector(t + 128.5f, Integers) - 128;
    Lanes f = t - __builtin_convertvector(whole, Lanes);
    Lanes power =
        1.0f + f * (0.693147181f +
                    f * (0.240226507f + f * (0.0555041087f +
                                             f * (0.00961812911f +
                                                  f * (0.00133335581f + f * (0.000154035304f + f * 1.52527338e-5f))))));
    Integers scale = (whole + 127) << 23;
    Lanes factor;
    memcpy(&factor, &scale, sizeof(factor));
    x = power * factor;
}

/** Energy of the radial functions and its derivative; distances are in widths from the nearest centre. */
INLINE void radial(const Lanes& distance, const float* c, Lanes& energy, Lanes& slope) {
    energy = slope = Lanes{};
    for (int pivot = 0; pivot < NUM_PIVOTS; pivot++, c += GROUP * WIDTH) {
        Lanes z = distance - float(pivot * GROUP + BELOW);
        limit(z, -FARTHEST, FARTHEST);
        Lanes value = -z * z, up = 2 * z;
        exponential(value);
        exponential(up);
        Lanes down = 1 / up, power = down;
        Lanes values = load(c + BELOW * WIDTH), moments = Lanes{};
        for (int k = 1; k <= BELOW; k++, power *= down) {
            Lanes term = power * load(c + (BELOW - k) * WIDTH);
            values += term;
            moments -= float(k) * term;
        }
        power = up;
        for (int k = 1; k <= ABOVE; k++, power *= up) {
            Lanes term = power * load(c + (BELOW + k) * WIDTH);
            values += term;
            moments += float(k) * term;
        }
        energy += value * values;
        slope += 2 * value * (moments - z * values);
    }
    slope *= float(1 / RADIAL_WIDTH);
}

/**
 * Pairs of residue i with a block of others. Columns are those of BasisPairs; own holds the residue's, and ownGradient
 * collects its gradient.
 */
INLINE void pairBasis(const float* own, const float* const* others, const float* c, Lanes* ownGradient,
                      float* const* gradients, Lanes& energy) {
    Lanes r[3], squared = Lanes{};
    for (int b = 0; b < 3; b++) {
        r[b] = load(others[b]) - own[b];
        squared += r[b] * r[b];
    }
    const Lanes least = Lanes{} + float(SHORTEST * SHORTEST);
    Lanes distance = (squared < least ? least : squared), inverse = 1 + distance;
    squareRoot(distance);
    squareRoot(inverse);
    // Directions are r / sqrt(1 + D^2).
    const Lanes fade = 1 / inverse, fadeSlope = -distance * fade * fade * fade;
    Lanes radialEnergy, slope;
    radial((distance - float(NEAREST)) * float(1 / RADIAL_WIDTH), c, radialEnergy, slope);
    c += NUM_RADIAL * WIDTH;

    // Sums over shells, of the residue's frame and of the others', and their derivatives with respect to the distance.
    Lanes mine[3] = {}, theirs[3] = {}, mineSlope[3] = {}, theirsSlope[3] = {};
    for (int s = 0; s < NUM_SHELLS; s++, c += 6 * WIDTH) {
        Lanes z = (distance - float(SHELL_CENTRES[s])) * float(1 / SHELL_WIDTHS[s]), shell = -z * z;
        exponential(shell);
        Lanes shellSlope = z * shell * float(-2 / SHELL_WIDTHS[s]);
        for (int a = 0; a < 3; a++) {
            mine[a] += shell * load(c + a * WIDTH);
            mineSlope[a] += shellSlope * load(c + a * WIDTH);
            theirs[a] += shell * load(c + (3 + a) * WIDTH);
            theirsSlope[a] += shellSlope * load(c + (3 + a) * WIDTH);
        }
    }
    Lanes turned = Lanes{}, turnedSlope = Lanes{}, force[3] = {};
    for (int a = 0; a < 3; a++) {
        Lanes inMine = Lanes{}, inTheirs = Lanes{};
        for (int b = 0; b < 3; b++) {
            const float axis = own[3 + 3 * a + b];
            const Lanes otherAxis = load(others[3 + 3 * a + b]);
            inMine += axis * r[b];
            inTheirs += otherAxis * r[b];
            force[b] += axis * mine[a] - otherAxis * theirs[a];
        }
        turned += mine[a] * inMine - theirs[a] * inTheirs;
        turnedSlope += mineSlope[a] * inMine - theirsSlope[a] * inTheirs;
        for (int b = 0; b < 3; b++) {
            Lanes faded = fade * r[b];
            ownGradient[3 + 3 * a + b] += mine[a] * faded;
            add(gradients[3 + 3 * a + b], -theirs[a] * faded);
        }
    }
    energy += radialEnergy + fade * turned;
    slope += fadeSlope * turned + fade * turnedSlope;
    slope = (squared > least ? slope / distance : Lanes{});
    for (int b = 0; b < 3; b++) {
        Lanes g = slope * r[b] + fade * force[b];
        ownGradient[b] -= g;
        add(gradients[b], g);
    }
}

} // namespace

BasisPairs::BasisPairs(const NemoBasisForce& force)
    : n(force.particles.size()),
      numBlocks((n + WIDTH - 1) / WIDTH),
      places(force.places()),
      hasPairs(!force.pairs.empty()),
      coreStiffness(force.hasBackbone ? CORE_STIFFNESS : 0),
      rowStart(n),
      neighbours(numBlocks) {
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        rowStart[i] = total;
        total += numBlocks - i / WIDTH;
    }
    if (hasPairs)
        coefficients.assign(total * PER_PAIR * WIDTH, 0.0f);
    auto of = [&](int i, int j, int k) { return force.pairs[((size_t) i * n + j) * NUM_PAIR_FUNCTIONS + k] * 0.5; };
    for (int i = 0; i < n && hasPairs; i++)
        for (int j = i + 1; j < n; j++) {
            if (places[j] < places[i] + MIN_SEPARATION)
                continue;
            float* c = &coefficients[(rowStart[i] + j / WIDTH - i / WIDTH) * PER_PAIR * WIDTH + j % WIDTH];
            for (int k = 0; k < NUM_RADIAL; k++, c += WIDTH) {
                int fromPivot = k % GROUP - BELOW;
                *c = (of(i, j, k) + of(j, i, k)) * exp(-fromPivot * fromPivot);
            }
            for (int k = NUM_RADIAL; k < NUM_PAIR_FUNCTIONS; k += 3, c += 6 * WIDTH)
                for (int a = 0; a < 3; a++) {
                    c[a * WIDTH] = of(i, j, k + a);
                    c[(3 + a) * WIDTH] = of(j, i, k + a);
                }
        }
    for (vector<float>& column : chain)
        column.assign(numBlocks * WIDTH, 0.0f);
}

double BasisPairs::compute(const vector<Vec3>& positions, const vector<array<Vec3, 3>>& frames, ThreadPool& threads,
                           vector<Vec3>& gradient, vector<array<Vec3, 3>>& frameGradient) {
    findNeighbours(positions);
    for (int i = 0; i < n; i++)
        for (int b = 0; b < 3; b++) {
            chain[b][i] = positions[i][b] - centres[i / WIDTH][b];
            for (int a = 0; a < 3; a++)
                chain[3 + 3 * a + b][i] = frames[i][a][b];
        }
    // Waking threads takes as long as several thousand pairs.
    int count = min(threads.getNumThreads(), 1 + n * n / 16000);
    parts.resize(count);
    if (count == 1)
        computePart(positions, 0, 1, parts[0]);
    else {
        threads.execute([&](ThreadPool&, int thread) {
            if (thread < count)
                computePart(positions, thread, count, parts[thread]);
        });
        threads.waitForThreads();
    }
    double energy = 0;
    for (const Part& part : parts) {
        energy += part.energy;
        for (int i = 0; i < n; i++)
            for (int b = 0; b < 3; b++) {
                gradient[i][b] += part.gradients[b][i];
                for (int a = 0; a < 3; a++)
                    frameGradient[i][a][b] += part.gradients[3 + 3 * a + b][i];
            }
    }
    return energy;
}

void BasisPairs::findNeighbours(const vector<Vec3>& positions) {
    centres.assign(numBlocks, Vec3());
    radii.assign(numBlocks, 0);
    for (int k = 0; k < numBlocks; k++) {
        int first = k * WIDTH, end = min(n, first + WIDTH);
        for (int i = first; i < end; i++)
            centres[k] += positions[i] / (end - first);
        for (int i = first; i < end; i++) {
            Vec3 d = positions[i] - centres[k];
            radii[k] = max(radii[k], sqrt(d.dot(d)));
        }
    }
    for (int k = 0; k < numBlocks; k++) {
        neighbours[k].clear();
        for (int other = k; other < numBlocks; other++) {
            Vec3 d = centres[other] - centres[k];
            double reach = CUTOFF + radii[k] + radii[other];
            // Also if something is not a number.
            if (!(d.dot(d) > reach * reach))
                neighbours[k].push_back(other);
        }
    }
}

/** Pairs of a residue with those of several blocks. */
VECTORIZED static void addRow(const Vec3& position, const Vec3* centres, const double* radii, const vector<int>& blocks,
                              float* own, const float* const* others, const float* coefficients, float* ownGradient,
                              float* const* gradients, double& energy) {
    Lanes energies = {}, collected[12] = {};
    for (int block : blocks) {
        Vec3 d = position - centres[block];
        double reach = CUTOFF + radii[block];
        if (d.dot(d) > reach * reach)
            continue;
        const float* columns[12];
        float* targets[12];
        for (int m = 0; m < 12; m++) {
            columns[m] = others[m] + block * WIDTH;
            targets[m] = gradients[m] + block * WIDTH;
        }
        for (int b = 0; b < 3; b++)
            own[b] = d[b];
        const float* c = coefficients + (size_t) (block - blocks[0]) * PER_PAIR * WIDTH;
        pairBasis(own, columns, c, collected, targets, energies);
    }
    energy += sum(energies);
    for (int m = 0; m < 12; m++)
        ownGradient[m] += sum(collected[m]);
}

void BasisPairs::computePart(const vector<Vec3>& positions, int index, int count, Part& part) const {
    part.energy = 0;
    for (vector<float>& column : part.gradients)
        column.assign(numBlocks * WIDTH, 0.0f);
    const float* others[12];
    float* gradients[12];
    for (int m = 0; m < 12; m++) {
        others[m] = chain[m].data();
        gradients[m] = part.gradients[m].data();
    }
    for (int i = index; i < n; i += count) {
        const vector<int>& blocks = neighbours[i / WIDTH];
        float ownGradient[12] = {};
        if (hasPairs) {
            float own[12];
            for (int m = 3; m < 12; m++)
                own[m] = others[m][i];
            addRow(positions[i], centres.data(), radii.data(), blocks, own, others,
                   &coefficients[rowStart[i] * PER_PAIR * WIDTH], ownGradient, gradients, part.energy);
        }
        if (coreStiffness != 0)
            for (int block : blocks)
                for (int j = max(i + 1, block * WIDTH); j < min(n, (block + 1) * WIDTH); j++) {
                    if (places[j] < places[i] + MIN_SEPARATION)
                        continue;
                    Vec3 r = positions[j] - positions[i];
                    double squared = r.dot(r);
                    if (squared > CORE_DIAMETER * CORE_DIAMETER)
                        continue;
                    bool apart = (squared > SHORTEST * SHORTEST);
                    double distance = (apart ? sqrt(squared) : SHORTEST), overlap = CORE_DIAMETER - distance;
                    part.energy += 0.5 * coreStiffness * overlap * overlap;
                    for (int b = 0; b < 3 && apart; b++) {
                        float g = -coreStiffness * overlap / distance * r[b];
                        gradients[b][j] += g;
                        ownGradient[b] -= g;
                    }
                }
        for (int m = 0; m < 12; m++)
            gradients[m][i] += ownGradient[m];
    }
}

} // namespace OpenMMNemo
