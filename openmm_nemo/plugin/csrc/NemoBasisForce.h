#ifndef OPENMM_NEMO_NEMOBASISFORCE_H_
#define OPENMM_NEMO_NEMOBASISFORCE_H_

#include "openmm/Force.h"
#include <string>
#include <vector>

namespace OpenMMNemo {

/**
 * Energy of one protein or complex as a sum of fixed functions (BasisFunctions.h) with coefficients that depend on its
 * sequence.
 *
 * It is multiplied by the global parameter nemo_scale, with respect to which it has a derivative. The force of a
 * replica also has the parameter nemo_replica, and is zero while that is the number of another one.
 */
class NemoBasisForce : public OpenMM::Force {
public:
    static const std::string& Scale() {
        static const std::string name = "nemo_scale";
        return name;
    }
    static const std::string& ChosenReplica() {
        static const std::string name = "nemo_replica";
        return name;
    }
    std::vector<int> particles; // its residues, in order
    // Number of residues of each chain of a complex, whose residues follow each other; empty: one chain.
    std::vector<int> chainLengths;
    int replica = -1; // -1: not one of several
    // Coefficients in kT, or empty if the energy lacks the term.
    std::vector<float> pairs; // [i][j][function]
    std::vector<float> chain; // [i][function]
    bool hasBackbone = false; // bonds and hard cores
    /**
     * Place of each residue along the sequence. Residues in successive places are bonded; different chains are so far
     * apart that none of their residues are neighbours.
     */
    std::vector<int> places() const;
    bool usesPeriodicBoundaryConditions() const override {
        return false;
    }

protected:
    OpenMM::ForceImpl* createImpl() const override;
};

} // namespace OpenMMNemo

#endif
