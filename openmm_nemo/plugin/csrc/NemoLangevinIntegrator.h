#ifndef OPENMM_NEMO_NEMOLANGEVININTEGRATOR_H_
#define OPENMM_NEMO_NEMOLANGEVININTEGRATOR_H_

#include "Constants.h"
#include "openmm/Integrator.h"
#include "openmm/Kernel.h"
#include "openmm/Vec3.h"
#include <memory>
#include <string>
#include <vector>

namespace OpenMMNemo {

class Metropolis;

/** Whose net translation and rotation a step removes. */
enum class Detrend { None = 0, Chains = 1, System = 2 };

/** What determines a trajectory. */
struct Parameters {
    double temperature = DEFAULT_TEMPERATURE;          // kelvin
    double cartesianStep = 0;                          // nm^2
    double internalStep = 0;                           // in the units of z
    double maxDisplacement = DEFAULT_MAX_DISPLACEMENT; // nm per step, may be infinite
    Detrend detrend = Detrend::Chains;
    bool measureCorrection = false;
    bool metropolis = false;
    int seed = 0; // 0: every integrator draws its own
    // Annealing: openmm_nemo/dynamics/schedule.py
    long long scheduleSteps = 1, scheduleBlock = 10;
    double hottest = 1, coldest = 1;
    // The chains are divided evenly among independent replicas; temperature is that of the first one.
    std::vector<double> otherTemperatures;            // kelvin, one per replica after the first
    std::vector<std::vector<int>> chains;             // empty: all particles, one chain per replica
    std::vector<double> cartesianPreconditioner;      // one per particle, or empty: 1
    std::vector<OpenMM::Vec3> internalPreconditioner; // one per particle, or empty: 1
    int numReplicas() const {
        return 1 + otherTemperatures.size();
    }
};

/** Temperature and step sizes of one step. */
struct StepSizes {
    double temperature;   // kelvin
    double cartesianStep; // nm^2
    double internalStep;  // in the units of z
};

/** What an integrator has done, and the seed that it did it with. Kept in checkpoints. */
struct Counters {
    long long steps = 0;
    long long clippedSteps = 0;
    long long proposedCartesian = 0, acceptedCartesian = 0; // sub-steps, with metropolis
    long long proposedInternal = 0, acceptedInternal = 0;
    double largestDisplacement = 0; // nm, in the last step
    int noiseSeed = 1;              // positive
};

/**
 * Overdamped Langevin dynamics of chains in Cartesian and internal coordinates (Ingraham et al., ICLR 2019, Algorithm
 * 3). The Python class of the same name documents it.
 */
class NemoLangevinIntegrator : public OpenMM::Integrator {
public:
    explicit NemoLangevinIntegrator(const Parameters& initial);
    ~NemoLangevinIntegrator();
    Parameters parameters;
    Counters counters;
    /** Temperature and step sizes of the next step of a replica, times the factor of the schedule. */
    StepSizes nextStep(int replica = 0) const;
    /** Sets the seed of the noise; 0: draws one at random. */
    void setSeed(int seed);
    void step(int steps) override;

protected:
    void initialize(OpenMM::ContextImpl& context) override;
    void cleanup() override;
    std::vector<std::string> getKernelNames() override;
    void stateChanged(OpenMM::State::DataType changed) override;
    double computeKineticEnergy() override;
    bool kineticEnergyRequiresForce() const override;
    void createCheckpoint(std::ostream& stream) const override;
    void loadCheckpoint(std::istream& stream) override;
    void serializeParameters(OpenMM::SerializationNode& node) const override;
    void deserializeParameters(const OpenMM::SerializationNode& node) override;

private:
    OpenMM::Kernel kernel;
    std::unique_ptr<Metropolis> metropolis;
    bool initialized = false, hasComputedForces = false;
};

/** The particles of a system as an integrator moves them. */
struct Layout {
    /** Throws an OpenMMException if the system cannot be integrated. */
    Layout(const Parameters& parameters, const OpenMM::System& system);
    std::vector<std::vector<int>> chains;
    int numReplicas, chainsPerReplica;
    std::vector<int> freeParticles;                   // in no chain, with a mass, in ascending order; in replica 0
    std::vector<double> cartesianPreconditioner;      // of every particle
    std::vector<OpenMM::Vec3> internalPreconditioner; // of every particle
    bool hasVirtualSites;
};

} // namespace OpenMMNemo

#endif
