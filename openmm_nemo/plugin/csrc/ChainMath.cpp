#include "ChainMath.h"
#include "VectorMath.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {

static double lengthOf(const Vec3& v) {
    return sqrt(max(v.dot(v), SHORTEST * SHORTEST));
}

Vec3 rotated(const Vec3& v, const Vec3& rotation) {
    double angle = sqrt(rotation.dot(rotation)), s = 1, half = 1;
    if (angle > SMALLEST_ROTATION) {
        s = sin(angle) / angle;
        half = sin(angle / 2) / (angle / 2);
    }
    Vec3 once = rotation.cross(v);
    return v + once * s + rotation.cross(once) * (0.5 * half * half);
}

void ChainAxes::compute(const vector<Vec3>& x) {
    int n = x.size();
    for (vector<Vec3>* v : {&bond, &direction, &normal})
        v->resize(n);
    for (vector<double>* v : {&sine, &cosine, &length, &angle, &stretchSlope, &bendSlope})
        v->resize(n);
    for (int j = 1; j < n; j++) {
        bond[j] = x[j] - x[j - 1];
        length[j] = lengthOf(bond[j]);
        direction[j] = bond[j] * (1 / length[j]);
    }
    // Rows without a bond or an angle hold harmless numbers.
    length[0] = 1;
    for (int j = 0; j < min(n, 2); j++) {
        sine[j] = 1;
        cosine[j] = 0;
    }
    for (int j = 2; j < n; j++) {
        Vec3 c = direction[j - 1].cross(direction[j]);
        sine[j] = lengthOf(c);
        cosine[j] = -direction[j - 1].dot(direction[j]);
        normal[j] = c * (1 / sine[j]);
    }
    anglesAndSlopes(n, sine.data(), cosine.data(), length.data(), angle.data(), stretchSlope.data());
    for (int j = 2; j < n; j++)
        bendSlope[j] = angle[j] * (1 - angle[j] * (1 / PI));
}

void ChainAxes::displacement(const vector<Vec3>& dz, vector<Vec3>& d) const {
    int n = dz.size();
    Vec3 rotation, sum;
    d.resize(n);
    d[0] = Vec3();
    for (int j = 1; j < n; j++) {
        if (j > 1)
            rotation -= normal[j] * (bendSlope[j] * dz[j][1]);
        if (j > 2)
            rotation += direction[j - 1] * dz[j][2];
        sum += direction[j] * (stretchSlope[j] * dz[j][0]) + rotation.cross(bond[j]);
        d[j] = sum;
    }
}

void ChainAxes::internalGradient(const vector<Vec3>& f, vector<Vec3>& g) const {
    int n = f.size();
    Vec3 force, torque;
    g.assign(n, Vec3());
    for (int j = n - 1; j > 0; j--) {
        force += f[j];
        torque += bond[j].cross(force);
        g[j][0] = stretchSlope[j] * direction[j].dot(force);
        if (j > 1)
            g[j][1] = -bendSlope[j] * normal[j].dot(torque);
        if (j > 2)
            g[j][2] = direction[j - 1].dot(torque);
    }
}

void ChainAxes::subtractVolumeGradient(vector<Vec3>& g) const {
    for (int j = 1; j < (int) g.size(); j++) {
        g[j][0] -= 2 * stretchSlope[j] / length[j] + 1 - stretchSlope[j];
        if (j > 1)
            g[j][1] -= bendSlope[j] * cosine[j] / sine[j] + 1 - 2 * angle[j] / PI;
    }
}

double ChainAxes::logVolume() const {
    double sum = 0;
    for (int j = 1; j < (int) length.size(); j++) {
        sum += 2 * log(length[j]) + log(stretchSlope[j]);
        if (j > 1)
            sum += log(sine[j]) + log(bendSlope[j]);
    }
    return sum;
}

void ChainAxes::rebuild(const Vec3& first, const vector<Vec3>& dz, vector<Vec3>& x) const {
    // In the frame of the old chain, everything from bead j on rotates about the normal at bead j-1 and about the bond
    // before it; earlier rotations turn both axes. So the rotations are multiplied from the right: the three columns
    // are the new directions of the old axes.
    int n = dz.size();
    Vec3 columns[3] = {Vec3(1, 0, 0), Vec3(0, 1, 0), Vec3(0, 0, 1)};
    auto turned = [&](const Vec3& v) { return columns[0] * v[0] + columns[1] * v[1] + columns[2] * v[2]; };
    x.resize(n);
    x[0] = first;
    for (int j = 1; j < n; j++) {
        Vec3 bend, twist;
        if (j > 1) {
            double newAngle = PI / (1 + (PI - angle[j]) / angle[j] * exp(-dz[j][1]));
            bend = normal[j] * (angle[j] - newAngle);
        }
        if (j > 2)
            twist = direction[j - 1] * dz[j][2];
        Vec3 next[3];
        for (int k = 0; k < 3; k++) {
            Vec3 axis;
            axis[k] = 1;
            next[k] = turned(rotated(rotated(axis, bend), twist));
        }
        copy(next, next + 3, columns);
        // b = log(1 + exp(b~)) and back, for bonds of any length.
        double stretched = length[j] + log(-expm1(-length[j])) + dz[j][0];
        double newLength = max(stretched, 0.0) + log1p(exp(-fabs(stretched)));
        x[j] = x[j - 1] + turned(direction[j]) * newLength;
    }
}

RigidMotion::RigidMotion(const vector<Vec3>& x, const vector<Vec3>& d) {
    int n = x.size();
    for (int i = 0; i < n; i++) {
        centre += x[i];
        drift += d[i];
    }
    centre /= n;
    drift /= n;
    Vec3 momentum;
    double xx = 0, yy = 0, zz = 0, xy = 0, xz = 0, yz = 0;
    for (int i = 0; i < n; i++) {
        Vec3 arm = x[i] - centre;
        momentum += arm.cross(d[i] - drift);
        xx += arm[0] * arm[0];
        yy += arm[1] * arm[1];
        zz += arm[2] * arm[2];
        xy += arm[0] * arm[1];
        xz += arm[0] * arm[2];
        yz += arm[1] * arm[2];
    }
    // Inertia tensor with a ridge. Elimination is exact to rounding for all rotations except that of collinear points
    // about their line, which moves none of them; a determinant would be pure rounding error.
    double trace = xx + yy + zz, ridge = RIDGE * trace + RIDGE_FLOOR, diagonal = trace + ridge;
    double a = diagonal - xx, ba = -xy / a, ca = -xz / a;
    double b = max(diagonal - yy + ba * xy, ridge), bc = ba * xz - yz, cb = bc / b;
    double c = max(diagonal - zz + ca * xz - cb * bc, ridge);
    double second = momentum[1] - ba * momentum[0], third = momentum[2] - ca * momentum[0] - cb * second;
    rotation[2] = third / c;
    rotation[1] = second / b - cb * rotation[2];
    rotation[0] = momentum[0] / a - ba * rotation[1] - ca * rotation[2];
}

} // namespace OpenMMNemo
