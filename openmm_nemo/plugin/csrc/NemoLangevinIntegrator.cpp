#include "NemoLangevinIntegrator.h"
#include "Metropolis.h"
#include "NemoKernel.h"
#include "openmm/OpenMMException.h"
#include "openmm/System.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/internal/OSRngSeed.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {

NemoLangevinIntegrator::NemoLangevinIntegrator(const Parameters& initial) : parameters(initial) {
    setStepSize(1.0);             // There is no physical time: a step counts as 1 ps.
    setConstraintTolerance(1e-5); // OpenMM's default; constraints are refused.
    setSeed(parameters.seed);
}

NemoLangevinIntegrator::~NemoLangevinIntegrator() {
}

void NemoLangevinIntegrator::setSeed(int seed) {
    parameters.seed = seed;
    counters.noiseSeed = (seed != 0 ? seed : 1 + (unsigned int) osrngseed() % LARGEST_SEED);
}

StepSizes NemoLangevinIntegrator::nextStep(int replica) const {
    const Parameters& p = parameters;
    long long blocks = (p.scheduleSteps + p.scheduleBlock - 1) / p.scheduleBlock, last = max(blocks - 1, 1LL);
    double share = (double) min(counters.steps / p.scheduleBlock, last) / last;
    double factor = p.hottest * pow(p.coldest / p.hottest, share);
    double temperature = (replica == 0 ? p.temperature : p.otherTemperatures[replica - 1]);
    return {temperature * factor, p.cartesianStep * factor, p.internalStep * factor};
}

void NemoLangevinIntegrator::initialize(ContextImpl& c) {
    if (owner != NULL && &c.getOwner() != owner)
        throw OpenMMException("This Integrator is already bound to a context");
    // A context that is not notified that its integrator is deleted uses it later, even if it has refused it.
    context = &c;
    Layout layout(parameters, c.getSystem());
    Kernel created = c.getPlatform().createKernel(IntegrateNemoStepKernel::Name(), c);
    created.getAs<IntegrateNemoStepKernel>().initialize(layout, *this);
    if (parameters.metropolis)
        metropolis.reset(new Metropolis(layout));
    // Not earlier: an integrator that a context refused can be used in another one.
    kernel = created;
    owner = &c.getOwner();
    hasComputedForces = false;
    initialized = true;
}

void NemoLangevinIntegrator::cleanup() {
    initialized = false;
    kernel = Kernel();
    metropolis.reset();
}

vector<string> NemoLangevinIntegrator::getKernelNames() {
    return {IntegrateNemoStepKernel::Name()};
}

void NemoLangevinIntegrator::stateChanged(State::DataType) {
    if (metropolis)
        metropolis->forget();
}

double NemoLangevinIntegrator::computeKineticEnergy() {
    return 0; // overdamped: velocities have no meaning
}

bool NemoLangevinIntegrator::kineticEnergyRequiresForce() const {
    return false;
}

void NemoLangevinIntegrator::step(int steps) {
    if (!initialized)
        throw OpenMMException("This Integrator is not bound to a context!");
    if (steps <= 0)
        return;
    // Nothing else counts steps between here and finish(), which may have to take some back.
    double time = context->getTime();
    long long count = context->getStepCount(), first = counters.steps;
    auto taken = [&](long long number) {
        counters.steps = number;
        context->setStepCount(count + number - first);
        context->setTime(time + (number - first) * getStepSize());
    };
    auto finish = [&]() {
        long long failed = (metropolis ? -1 : kernel.getAs<IntegrateNemoStepKernel>().finish(*context, counters));
        if (failed >= 0)
            taken(failed);
        return failed;
    };
    if (!hasComputedForces) {
        // TorchScript rewrites a module after its first call, which changes the last bits of the forces. That call is
        // made here, so that a resumed run repeats an uninterrupted one.
        context->calcForcesAndEnergy(true, true, getIntegrationForceGroups());
        hasComputedForces = true;
    }
    try {
        bool good = true;
        for (int i = 0; i < steps && good; i++) {
            bool changed = context->updateContextState();
            if (metropolis) {
                if (changed)
                    metropolis->forget();
                metropolis->step(*context, *this);
            }
            else {
                context->calcForcesAndEnergy(true, false, getIntegrationForceGroups());
                good = kernel.getAs<IntegrateNemoStepKernel>().execute(*context, *this);
            }
            taken(counters.steps + 1);
        }
    }
    catch (...) {
        finish(); // A force has thrown an exception: the steps before it count.
        throw;
    }
    long long failed = finish();
    if (failed >= 0) {
        vector<Vec3> forces;
        context->calcForcesAndEnergy(true, false, getIntegrationForceGroups());
        context->getForces(forces);
        bool good = all_of(forces.begin(), forces.end(), [](const Vec3& f) {
            return fabs(f[0]) < LARGEST_FORCE && fabs(f[1]) < LARGEST_FORCE && fabs(f[2]) < LARGEST_FORCE;
        });
        throw OpenMMException(good ? "The positions are not finite after step " + to_string(failed) + "."
                                   : "The forces are not finite at step " + to_string(failed) + ".");
    }
}

Layout::Layout(const Parameters& parameters, const System& system)
    : chains(parameters.chains),
      numReplicas(parameters.numReplicas()),
      cartesianPreconditioner(parameters.cartesianPreconditioner),
      internalPreconditioner(parameters.internalPreconditioner),
      hasVirtualSites(false) {
    int numParticles = system.getNumParticles();
    if (system.getNumConstraints() > 0)
        throw OpenMMException("The system has " + to_string(system.getNumConstraints()) +
                              " constraints: NemoLangevinIntegrator "
                              "cannot keep them; build the system without constraints.");
    if (parameters.detrend == Detrend::System && system.usesPeriodicBoundaryConditions())
        throw OpenMMException(
            "detrend='system' removes the rotation of the whole system, which has no meaning in a periodic "
            "box: use detrend=True or detrend=False.");
    if (parameters.detrend == Detrend::System && numReplicas > 1)
        throw OpenMMException("detrend='system' would move all replicas together: use detrend=True or detrend=False.");
    if (chains.empty()) {
        if (numParticles % numReplicas != 0)
            throw OpenMMException("The system has " + to_string(numParticles) +
                                  " particles, which cannot be divided evenly among " + to_string(numReplicas) +
                                  " replicas.");
        chains.resize(numReplicas);
        for (int i = 0; i < numParticles; i++)
            chains[i / (numParticles / numReplicas)].push_back(i);
    }
    if (chains.size() % numReplicas != 0)
        throw OpenMMException("There are " + to_string(chains.size()) +
                              " chains, which cannot be divided evenly among " + to_string(numReplicas) + " replicas.");
    chainsPerReplica = chains.size() / numReplicas;
    vector<bool> inChain(numParticles, false);
    for (int i = 0; i < (int) chains.size(); i++) {
        if (chains[i].empty())
            throw OpenMMException("Chain " + to_string(i) + " is empty.");
        for (int particle : chains[i]) {
            if (particle < 0 || particle >= numParticles)
                throw OpenMMException("Chain " + to_string(i) + " has particle " + to_string(particle) +
                                      ", but the system has " + to_string(numParticles) + " particles.");
            if (inChain[particle])
                throw OpenMMException("Particle " + to_string(particle) + " is in the chains twice.");
            if (system.getParticleMass(particle) == 0)
                throw OpenMMException("Particle " + to_string(particle) + " of chain " + to_string(i) +
                                      " has mass 0 and cannot "
                                      "move: give it a mass, or leave it out of the chains.");
            inChain[particle] = true;
        }
    }
    for (int i = 0; i < numParticles; i++) {
        if (!inChain[i] && system.getParticleMass(i) > 0)
            freeParticles.push_back(i);
        hasVirtualSites |= system.isVirtualSite(i);
    }
    if (numReplicas > 1 && !freeParticles.empty())
        throw OpenMMException("Particle " + to_string(freeParticles[0]) +
                              " is in no chain, and so in no replica: add it to a chain, or give it mass 0.");
    if (cartesianPreconditioner.empty())
        cartesianPreconditioner.assign(numParticles, 1.0);
    if (internalPreconditioner.empty())
        internalPreconditioner.assign(numParticles, Vec3(1, 1, 1));
    for (auto& [name, count] : {pair<string, size_t>("cartesian_preconditioner", cartesianPreconditioner.size()),
                                pair<string, size_t>("internal_preconditioner", internalPreconditioner.size())})
        if (count != (size_t) numParticles)
            throw OpenMMException(name + " is for " + to_string(count) + " particles, but the system has " +
                                  to_string(numParticles) +
                                  ": give one value for each. For a protein in a larger system, use "
                                  "create_integrator(system=..., particles=...).");
}

} // namespace OpenMMNemo
