#include "BasisGeometry.h"
#include "BasisFunctions.h"
#include "Constants.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

/** A vector divided by its length, which counts as no less than SHORTEST. */
struct Unit {
    explicit Unit(const Vec3& v) {
        double squared = v.dot(v);
        hasLength = !(squared <= SHORTEST * SHORTEST); // also if it is not a number
        length = (hasLength ? sqrt(squared) : SHORTEST);
        direction = v / length;
    }
    /** Gradient with respect to the vector, from that with respect to its direction. */
    Vec3 gradient(const Vec3& g) const {
        return (hasLength ? g - direction * direction.dot(g) : g) / length;
    }
    Vec3 direction;
    double length;
    bool hasLength;
};

} // namespace

BasisGeometry::BasisGeometry(const NemoBasisForce& itsForce)
    : frames(itsForce.particles.size()), force(itsForce), n(itsForce.particles.size()), places(itsForce.places()) {
}

void BasisGeometry::setPositions(const vector<Vec3>& x) {
    u.resize(n - 1);
    b.resize(n - 1);
    hasLength.resize(n - 1);
    uGradient.assign(n - 1, Vec3());
    bGradient.assign(n - 1, 0);
    for (int i = 0; i < n - 1; i++) {
        Unit bond(x[i + 1] - x[i]);
        u[i] = bond.direction;
        b[i] = bond.length;
        hasLength[i] = bond.hasLength;
    }
    for (int i = 1; i < n - 1; i++) {
        if (!hasFrame(i))
            continue;
        Vec3 normal = u[i - 1].cross(u[i]);
        double squaredSine = normal.dot(normal), fade = squaredSine / (squaredSine + STRAIGHT);
        Vec3 first = Unit(u[i - 1] - u[i]).direction, second = Unit(normal).direction;
        frames[i] = {first * fade, second * fade, first.cross(second) * fade};
    }
}

double BasisGeometry::addChainTerms() {
    double energy = 0;
    if (force.hasBackbone)
        for (int i = 0; i < n - 1; i++) {
            if (!isBonded(i))
                continue;
            double stretch = (b[i] - BOND_LENGTH) / BOND_WIDTH, root = sqrt(1 + stretch * stretch);
            energy += BOND_STRENGTH * (root - 1);
            bGradient[i] += BOND_STRENGTH * stretch / (root * BOND_WIDTH);
        }
    if (!force.chain.empty())
        for (int i = 3; i < n; i++)
            if (places[i] == places[i - 3] + 3)
                energy += addChainFunctions(i, &force.chain[i * NUM_CHAIN_FUNCTIONS]);
    return energy;
}

double BasisGeometry::addChainFunctions(int residue, const float* coefficients) {
    const Vec3 &u0 = u[residue - 3], &u1 = u[residue - 2], &u2 = u[residue - 1];
    Vec3 before = u0.cross(u1), after = u1.cross(u2);
    double cosine = -u1.dot(u2), c = before.dot(after), s = u0.dot(after);
    double inverse = 1 / sqrt(c * c + s * s + SMOOTHING);
    double energy = 0, byCosine = 0;
    for (int k = 0; k < NUM_ANGLES; k++) {
        double z = (cosine - ANGLE_CENTRES[k]) / ANGLE_WIDTH, value = coefficients[k] * exp(-z * z);
        energy += value;
        byCosine -= 2 * z / ANGLE_WIDTH * value;
    }
    // Powers of C + i S, for cosine and sine of the dihedral, and the gradient with respect to C and S.
    const double bends[3] = {1, cosine, 2 * cosine * cosine - 1}, slopes[3] = {0, 1, 4 * cosine};
    double unitC = c * inverse, unitS = s * inverse, powerC = 1, powerS = 0, byC = 0, byS = 0;
    for (int order = 1; order <= 3; order++) {
        double nextC = powerC * unitC - powerS * unitS, nextS = powerC * unitS + powerS * unitC;
        const float* k = coefficients + NUM_ANGLES + 6 * (order - 1);
        double ofCosine = 0, ofSine = 0;
        for (int m = 0; m < 3; m++) {
            ofCosine += k[m] * bends[m];
            ofSine += k[3 + m] * bends[m];
            byCosine += slopes[m] * (k[m] * nextC + k[3 + m] * nextS);
        }
        energy += ofCosine * nextC + ofSine * nextS;
        byC += order * (ofCosine * powerC + ofSine * powerS);
        byS += order * (ofSine * powerC - ofCosine * powerS);
        powerC = nextC;
        powerS = nextS;
    }
    double along = (byC * unitC + byS * unitS);
    double gradientC = inverse * (byC - unitC * along), gradientS = inverse * (byS - unitS * along);
    Vec3 beforeGradient = after * gradientC, afterGradient = before * gradientC + u0 * gradientS;
    uGradient[residue - 3] += u1.cross(beforeGradient) + after * gradientS;
    uGradient[residue - 2] += beforeGradient.cross(u0) + u2.cross(afterGradient) - u2 * byCosine;
    uGradient[residue - 1] += afterGradient.cross(u1) - u1 * byCosine;
    return energy;
}

void BasisGeometry::addFrameGradient(int residue, const array<Vec3, 3>& gradient) {
    if (!hasFrame(residue))
        return;
    const Vec3 &before = u[residue - 1], &after = u[residue];
    Vec3 cross = before.cross(after);
    Unit bisector(before - after), normal(cross);
    const Vec3 &e0 = bisector.direction, &e1 = normal.direction;
    double squaredSine = cross.dot(cross), sum = squaredSine + STRAIGHT, fade = squaredSine / sum;
    double fadeGradient = gradient[0].dot(e0) + gradient[1].dot(e1) + gradient[2].dot(e0.cross(e1));
    Vec3 byBisector = bisector.gradient((gradient[0] + e1.cross(gradient[2])) * fade);
    Vec3 byNormal = normal.gradient((gradient[1] + gradient[2].cross(e0)) * fade) +
                    cross * (2 * fadeGradient * STRAIGHT / (sum * sum));
    uGradient[residue - 1] += byBisector + after.cross(byNormal);
    uGradient[residue] += byNormal.cross(before) - byBisector;
}

void BasisGeometry::addGradient(vector<Vec3>& gradient) const {
    for (int i = 0; i < n - 1; i++) {
        Vec3 byBond = uGradient[i] / b[i];
        if (hasLength[i])
            byBond += u[i] * (bGradient[i] - u[i].dot(uGradient[i]) / b[i]);
        gradient[i + 1] += byBond;
        gradient[i] -= byBond;
    }
}

} // namespace OpenMMNemo
