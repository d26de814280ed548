#ifndef OPENMM_NEMO_BASISPAIRS_H_
#define OPENMM_NEMO_BASISPAIRS_H_

#include "NemoBasisForce.h"
#include "openmm/Vec3.h"
#include "openmm/internal/ThreadPool.h"
#include <array>
#include <vector>

namespace OpenMMNemo {

/**
 * The sum over pairs of the pair basis and the hard cores in single precision, with vector instructions: a residue and
 * eight others at a time. Angstrom and kT.
 */
class BasisPairs {
public:
    explicit BasisPairs(const NemoBasisForce& force);
    /**
     * Returns the energy; adds to the gradients with respect to positions and to frames.
     *
     * The threads divide the pairs in a fixed way, so that the same positions give the same result.
     */
    double compute(const std::vector<OpenMM::Vec3>& positions, const std::vector<std::array<OpenMM::Vec3, 3>>& frames,
                   OpenMM::ThreadPool& threads, std::vector<OpenMM::Vec3>& gradient,
                   std::vector<std::array<OpenMM::Vec3, 3>>& frameGradient);
    /** Residues that are processed together. */
    static const int WIDTH = 8;

private:
    /**
     * For all residues, three components of the position relative to the centre of its block, or of its gradient, and
     * nine of the frame.
     */
    using Columns = std::array<std::vector<float>, 12>;
    struct Part {
        Columns gradients;
        double energy;
    };
    /** Centres and radii of the blocks, and which are near each other. */
    void findNeighbours(const std::vector<OpenMM::Vec3>& positions);
    void computePart(const std::vector<OpenMM::Vec3>& positions, int index, int count, Part& part) const;
    int n, numBlocks;
    std::vector<int> places;
    bool hasPairs;
    double coreStiffness;
    // For every residue and every block that has residues beyond it, from the first such block.
    std::vector<size_t> rowStart;
    std::vector<float> coefficients;
    Columns chain;
    std::vector<OpenMM::Vec3> centres;
    std::vector<double> radii;
    // For every block, those beyond it that are near enough.
    std::vector<std::vector<int>> neighbours;
    std::vector<Part> parts;
};

} // namespace OpenMMNemo

#endif
