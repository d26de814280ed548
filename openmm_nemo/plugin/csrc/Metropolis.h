#ifndef OPENMM_NEMO_METROPOLIS_H_
#define OPENMM_NEMO_METROPOLIS_H_

#include "ChainMath.h"
#include "NemoLangevinIntegrator.h"
#include "openmm/internal/ContextImpl.h"
#include <array>

namespace OpenMMNemo {

/**
 * The exact sampler: a Cartesian and an internal Langevin proposal in turn, each accepted or rejected by the Metropolis
 * criterion.
 *
 * It works through the ContextImpl in double precision on the host, the same on every platform; the docstring of the
 * Python class derives it. All replicas are proposed at once, and each is decided on its own energy.
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
        std::vector<double> energies;       // of each replica, kJ/mol
    };
    /** The internal drift of a state, and log|det dx/dz| of each replica. */
    struct Slopes {
        std::vector<std::vector<OpenMM::Vec3>> gradient; // of every chain, in kT
        std::vector<double> logVolume;
    };
    /** These return the number of replicas whose proposal was accepted. */
    int tryCartesian(OpenMM::ContextImpl& context, const NemoLangevinIntegrator& integrator);
    int tryInternal(OpenMM::ContextImpl& context, const NemoLangevinIntegrator& integrator);
    /**
     * Computes energies and forces at proposal.x and takes those of a replica with probability min(1, exp(-(E'-E)/kT +
     * logRatio(replica))); which is the index of its uniform number.
     */
    template <class LogRatio>
    int decide(OpenMM::ContextImpl& context, int which, LogRatio logRatio);
    void evaluate(OpenMM::ContextImpl& context, State& state, int groups);
    /** Throws an exception unless all forces can compute the energy of one replica. */
    void requireReplicaEnergies(OpenMM::ContextImpl& context, int groups) const;
    void place(OpenMM::ContextImpl& context, const std::vector<OpenMM::Vec3>& x);
    void slopesAt(const State& state, Slopes& slopes);
    int replicaOf(int chain) const {
        return chain / layout.chainsPerReplica;
    }
    double kTOf(int replica) const {
        return GAS_CONSTANT * sizes[replica].temperature;
    }
    /** Standard normal numbers of a chain; the one after the last is that of particles in no chain. */
    void draw(const NemoLangevinIntegrator& integrator, int chain, int stream, int n);
    double noiseOf(int bead, int k) const {
        return noise[k][bead];
    }
    Layout layout;
    std::vector<StepSizes> sizes;               // of each replica
    std::vector<std::array<double, 2>> uniform; // of each replica
    std::vector<std::vector<int>> moving;       // particles of each replica that take Cartesian steps
    bool known;
    int knownGroups;
    OpenMM::Vec3 knownBox[3];
    State current, proposal;
    std::vector<double> noise[3];
    ChainAxes axes;
};

} // namespace OpenMMNemo

#endif
