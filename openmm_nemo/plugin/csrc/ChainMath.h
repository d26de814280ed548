#ifndef OPENMM_NEMO_CHAINMATH_H_
#define OPENMM_NEMO_CHAINMATH_H_

#include "Constants.h"
#include "openmm/Vec3.h"
#include <vector>

namespace OpenMMNemo {

/** Rotates v about the axis and by the angle of a rotation vector (Rodrigues' formula). */
OpenMM::Vec3 rotated(const OpenMM::Vec3& v, const OpenMM::Vec3& rotation);

/**
 * Internal coordinates of a chain, and the effect of changing them: b~, a~ and d of row j place bead j.
 *
 * Lengths in Angstrom. All functions are the C++ counterparts of those in openmm_nemo/geometry, where the formulas are
 * derived, and take time proportional to the number of beads.
 */
class ChainAxes {
public:
    void compute(const std::vector<OpenMM::Vec3>& x);
    /** d = J dz. The first bead does not move. */
    void displacement(const std::vector<OpenMM::Vec3>& dz, std::vector<OpenMM::Vec3>& d) const;
    /** g = J^T f, which turns a gradient on the beads into one on the internal coordinates. */
    void internalGradient(const std::vector<OpenMM::Vec3>& f, std::vector<OpenMM::Vec3>& g) const;
    /** Subtracts the gradient of logVolume() with respect to z. */
    void subtractVolumeGradient(std::vector<OpenMM::Vec3>& g) const;
    /** log |det dx/dz| without rigid-body motion. */
    double logVolume() const;
    /** x = F(z+dz): the chain with changed internal coordinates, first bead, bond direction and plane kept. */
    void rebuild(const OpenMM::Vec3& first, const std::vector<OpenMM::Vec3>& dz, std::vector<OpenMM::Vec3>& x) const;

private:
    std::vector<OpenMM::Vec3> bond, direction, normal;
    std::vector<double> sine, cosine, length, angle, stretchSlope, bendSlope;
};

/** The rigid-body part of displacements d of points x with unit masses. */
class RigidMotion {
public:
    RigidMotion(const std::vector<OpenMM::Vec3>& x, const std::vector<OpenMM::Vec3>& d);
    /** The displacement of point x without the rigid-body part. */
    OpenMM::Vec3 removed(const OpenMM::Vec3& x, const OpenMM::Vec3& d) const {
        return d - drift - rotation.cross(x - centre);
    }
    /** The same by moving x+d back as a rigid body, which keeps the new shape. */
    OpenMM::Vec3 removedRigidly(const OpenMM::Vec3& x, const OpenMM::Vec3& d) const {
        OpenMM::Vec3 arm = x - centre;
        return rotated(arm + d - drift, rotation * -1) - arm;
    }

private:
    OpenMM::Vec3 centre, drift, rotation;
};

} // namespace OpenMMNemo

#endif
