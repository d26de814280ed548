#ifndef OPENMM_NEMO_METROPOLIS_H_
#define OPENMM_NEMO_METROPOLIS_H_

#include "ChainMath.h"
#include "NemoLangevinIntegrator.h"
#include "openmm/internal/ContextImpl.h"

namespace OpenMMNemo {

/**
 * The exact sampler: a Cartesian and an internal Langevin proposal in turn, each accepted or rejected by the Metropolis
 * criterion.
 *
 * It works through the ContextImpl in double precision on the host, the same on every platform; the docstring of the
 * Python class derives it.
 */
class Metropolis {
public:
    explicit Metropolis(const Layout& systemLayout);
    /** The state is no longer that of the last step: forces and energy must be recomputed. */
    void forget() {
        known = false;
    }
    void step(OpenMM::ContextImpl& context, NemoLangevinIntegrator& integrator);

private:
    /** A state of all particles. */
    struct State {
        std::vector<OpenMM::Vec3> x, force; // nm, kJ/mol/nm
        double energy;                      // kJ/mol
    };
    /** The internal drift of a state, and log|det dx/dz|. */
    struct Slopes {
        std::vector<std::vector<OpenMM::Vec3>> gradient; // of every chain, in kT
        double logVolume;
    };
    bool tryCartesian(OpenMM::ContextImpl& context, const NemoLangevinIntegrator& integrator, double u);
    bool tryInternal(OpenMM::ContextImpl& context, const NemoLangevinIntegrator& integrator, double u);
    /** Computes energy and forces at proposal.x and takes it with probability min(1, exp(-(E'-E)/kT + logRatio())). */
    template <class LogRatio>
    bool decide(OpenMM::ContextImpl& context, double u, LogRatio logRatio);
    void evaluate(OpenMM::ContextImpl& context, State& state, int groups);
    void place(OpenMM::ContextImpl& context, const std::vector<OpenMM::Vec3>& x);
    void slopesAt(const State& state, double kT, Slopes& slopes);
    /** Standard normal numbers of a chain. */
    void draw(const NemoLangevinIntegrator& integrator, int chain, int stream, int n);
    double noiseOf(int bead, int k) const {
        return noise[k][bead];
    }
    Layout layout;
    StepSizes now = {};
    std::vector<int> moving; // particles that take Cartesian steps
    bool known;
    int knownGroups;
    OpenMM::Vec3 knownBox[3];
    State current, proposal;
    std::vector<double> noise[3];
    ChainAxes axes;
};

} // namespace OpenMMNemo

#endif
