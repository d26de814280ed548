#ifndef OPENMM_NEMO_BASISGEOMETRY_H_
#define OPENMM_NEMO_BASISGEOMETRY_H_

#include "NemoBasisForce.h"
#include "openmm/Vec3.h"
#include <array>
#include <vector>

namespace OpenMMNemo {

/**
 * The bonds of chains, the frames of their residues, and the terms of the energy that act along a chain, in Angstrom
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
     * is straight; zero for the ends of chains.
     */
    std::vector<std::array<OpenMM::Vec3, 3>> frames;

private:
    double addChainFunctions(int residue, const float* coefficients);
    bool isBonded(int residue) const {
        return places[residue + 1] == places[residue] + 1;
    }
    bool hasFrame(int residue) const {
        return residue > 0 && residue < n - 1 && isBonded(residue - 1) && isBonded(residue);
    }
    const NemoBasisForce& force;
    int n;
    std::vector<int> places;
    // Directions and lengths of bonds from each residue to the next, whether they have a length, and gradients. Between
    // chains, they are not used.
    std::vector<OpenMM::Vec3> u, uGradient;
    std::vector<double> b, bGradient;
    std::vector<bool> hasLength;
};

} // namespace OpenMMNemo

#endif
