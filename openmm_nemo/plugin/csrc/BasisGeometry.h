#ifndef OPENMM_NEMO_BASISGEOMETRY_H_
#define OPENMM_NEMO_BASISGEOMETRY_H_

#include "NemoBasisForce.h"
#include "openmm/Vec3.h"
#include <array>
#include <vector>

namespace OpenMMNemo {

/**
 * The bonds of a chain, the frames of its residues, and the terms of the energy that act along the chain, in Angstrom
 * and kT. Gradients of bonds and frames are collected, and go back to the positions once, at the end.
 */
class BasisGeometry {
public:
    explicit BasisGeometry(const NemoBasisForce& force);
    /** Starts with new positions, and no gradients. */
    void setPositions(const std::vector<OpenMM::Vec3>& positions);
    /** Bonds (of the backbone) and the chain basis. */
    double addChainTerms();
    /** Adds the gradient with respect to the axes of a frame. */
    void addFrameGradient(int residue, const std::array<OpenMM::Vec3, 3>& gradient);
    /** Adds what has been collected to the gradient with respect to the positions. */
    void addGradient(std::vector<OpenMM::Vec3>& gradient) const;
    /**
     * The three axes of each residue: unit(u[i-1] - u[i]), the normal and their cross product, faded where the chain
     * is straight; zero for its ends.
     */
    std::vector<std::array<OpenMM::Vec3, 3>> frames;

private:
    double addChainFunctions(int residue, const float* coefficients);
    const NemoBasisForce& force;
    int n;
    // Directions and lengths of bonds, whether they have a length, and gradients.
    std::vector<OpenMM::Vec3> u, uGradient;
    std::vector<double> b, bGradient;
    std::vector<bool> hasLength;
};

} // namespace OpenMMNemo

#endif
