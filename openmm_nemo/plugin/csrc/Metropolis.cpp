#include "Metropolis.h"
#include "NemoBasisForce.h"
#include "VectorMath.h"
#include "openmm/Force.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ForceImpl.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {

// The global parameter with which forces compute the energy of one replica, or, if it is -1, of all.
static const string REPLICA_PARAMETER = NemoBasisForce::ChosenReplica();

Metropolis::Metropolis(const Layout& systemLayout)
    : layout(systemLayout),
      sizes(systemLayout.numReplicas),
      uniform(systemLayout.numReplicas),
      moving(systemLayout.numReplicas),
      known(false),
      knownGroups(0) {
    moving[0] = layout.freeParticles;
    for (int c = 0; c < (int) layout.chains.size(); c++) {
        vector<int>& here = moving[replicaOf(c)];
        here.insert(here.end(), layout.chains[c].begin(), layout.chains[c].end());
    }
}

void Metropolis::step(ContextImpl& context, NemoLangevinIntegrator& integrator) {
    Counters& counters = integrator.counters;
    for (int r = 0; r < layout.numReplicas; r++) {
        sizes[r] = integrator.nextStep(r);
        acceptanceNumbers(counters.noiseSeed, r, (uint32_t) counters.steps, uniform[r].data());
    }
    int groups = integrator.getIntegrationForceGroups();
    // Minimizers, other integrators and changes of the box do not notify this integrator.
    vector<Vec3> before;
    Vec3 box[3];
    context.getPositions(before);
    context.getPeriodicBoxVectors(box[0], box[1], box[2]);
    if (!known || groups != knownGroups || before != current.x || !equal(box, box + 3, knownBox)) {
        known = false;
        if (layout.numReplicas > 1)
            requireReplicaEnergies(context, groups);
        evaluate(context, current, groups);
        knownGroups = groups;
        copy(box, box + 3, knownBox);
        for (double energy : current.energies)
            if (!isfinite(energy))
                throw OpenMMException("The energy is not finite at step " + to_string(counters.steps) + ".");
        for (const Vec3& f : current.force)
            if (!isfinite(f.dot(f)))
                throw OpenMMException("The forces are not finite at step " + to_string(counters.steps) + ".");
    }
    before = current.x;
    const Counters countersBefore = counters;
    try {
        if (sizes[0].cartesianStep > 0) {
            counters.acceptedCartesian += tryCartesian(context, integrator);
            counters.proposedCartesian += layout.numReplicas;
        }
        if (sizes[0].internalStep > 0) {
            counters.acceptedInternal += tryInternal(context, integrator);
            counters.proposedInternal += layout.numReplicas;
        }
    }
    catch (...) {
        counters = countersBefore;
        place(context, before);
        known = false;
        throw;
    }
    double largest = 0;
    for (const vector<int>& chain : layout.chains)
        for (int particle : chain) {
            Vec3 d = current.x[particle] - before[particle];
            largest = max(largest, d.dot(d));
        }
    counters.largestDisplacement = sqrt(largest);
    known = true; // placing particles made it false
}

int Metropolis::tryCartesian(ContextImpl& context, const NemoLangevinIntegrator& integrator) {
    double step = sizes[0].cartesianStep;
    proposal.x = current.x;
    auto propose = [&](int particle, int bead, int replica) {
        double half = 0.5 / kTOf(replica);
        double variance = step * layout.cartesianPreconditioner[particle];
        Vec3 normal(noiseOf(bead, 0), noiseOf(bead, 1), noiseOf(bead, 2));
        proposal.x[particle] += current.force[particle] * (half * variance) + normal * sqrt(variance);
    };
    for (int c = 0; c < (int) layout.chains.size(); c++) {
        draw(integrator, c, CartesianStream, layout.chains[c].size());
        for (int i = 0; i < (int) layout.chains[c].size(); i++)
            propose(layout.chains[c][i], i, replicaOf(c));
    }
    if (!layout.freeParticles.empty()) {
        draw(integrator, layout.chains.size(), CartesianStream, layout.freeParticles.back() + 1);
        for (int particle : layout.freeParticles)
            propose(particle, particle, 0);
    }
    return decide(context, 0, [&](int replica) {
        double sum = 0, half = 0.5 / kTOf(replica);
        for (int i : moving[replica]) {
            double variance = step * layout.cartesianPreconditioner[i];
            if (variance == 0)
                continue;
            Vec3 d = proposal.x[i] - current.x[i];
            Vec3 forth = d - current.force[i] * (half * variance), back = d + proposal.force[i] * (half * variance);
            sum += (forth.dot(forth) - back.dot(back)) / (2 * variance);
        }
        return sum;
    });
}

int Metropolis::tryInternal(ContextImpl& context, const NemoLangevinIntegrator& integrator) {
    double step = sizes[0].internalStep;
    int numChains = layout.chains.size();
    Slopes here, there;
    slopesAt(current, here);
    proposal.x = current.x;
    vector<vector<Vec3>> dz(numChains);
    vector<Vec3> x, rebuilt;
    for (int c = 0; c < numChains; c++) {
        const vector<int>& chain = layout.chains[c];
        int n = chain.size();
        draw(integrator, c, InternalStream, n);
        x.resize(n);
        dz[c].assign(n, Vec3());
        for (int j = 0; j < n; j++) {
            x[j] = current.x[chain[j]] * ANGSTROM_PER_NM;
            for (int k = 0; k < min(j, 3); k++) {
                double variance = step * layout.internalPreconditioner[chain[j]][k];
                dz[c][j][k] = sqrt(variance) * noiseOf(j, k) - 0.5 * variance * here.gradient[c][j][k];
            }
        }
        axes.compute(x);
        axes.rebuild(x[0], dz[c], rebuilt);
        for (int j = 0; j < n; j++)
            proposal.x[chain[j]] = rebuilt[j] / ANGSTROM_PER_NM;
    }
    return decide(context, 1, [&](int replica) {
        if (replica == 0)
            slopesAt(proposal, there);
        double sum = there.logVolume[replica] - here.logVolume[replica];
        for (int c = replica * layout.chainsPerReplica; c < (replica + 1) * layout.chainsPerReplica; c++)
            for (int j = 0; j < (int) dz[c].size(); j++)
                for (int k = 0; k < min(j, 3); k++) {
                    double variance = step * layout.internalPreconditioner[layout.chains[c][j]][k];
                    if (variance == 0)
                        continue;
                    double forth = dz[c][j][k] + 0.5 * variance * here.gradient[c][j][k];
                    double back = dz[c][j][k] - 0.5 * variance * there.gradient[c][j][k];
                    sum += (forth * forth - back * back) / (2 * variance);
                }
        return sum;
    });
}

template <class LogRatio>
int Metropolis::decide(ContextImpl& context, int which, LogRatio logRatio) {
    place(context, proposal.x);
    evaluate(context, proposal, knownGroups);
    int numAccepted = 0;
    vector<bool> accepted(layout.numReplicas);
    for (int r = 0; r < layout.numReplicas; r++) {
        // NaN is never accepted.
        double logA = -(proposal.energies[r] - current.energies[r]) / kTOf(r) + logRatio(r);
        accepted[r] = (log(uniform[r][which]) < logA);
        numAccepted += accepted[r];
    }
    if (numAccepted == layout.numReplicas) {
        swap(current, proposal);
        return numAccepted;
    }
    for (int r = 0; r < layout.numReplicas; r++)
        if (accepted[r]) {
            current.energies[r] = proposal.energies[r];
            for (int particle : moving[r]) {
                current.x[particle] = proposal.x[particle];
                current.force[particle] = proposal.force[particle];
            }
        }
    place(context, current.x);
    if (numAccepted > 0)
        context.getPositions(current.x); // with virtual sites
    return numAccepted;
}

void Metropolis::evaluate(ContextImpl& context, State& state, int groups) {
    state.energies.assign(1, context.calcForcesAndEnergy(true, true, groups));
    context.getForces(state.force);
    // Positions as rounded by the platform, as in a checkpoint, and virtual sites.
    context.getPositions(state.x);
    if (layout.numReplicas == 1)
        return;
    state.energies.clear();
    try {
        for (int r = 0; r < layout.numReplicas; r++) {
            context.setParameter(REPLICA_PARAMETER, r);
            state.energies.push_back(context.calcForcesAndEnergy(false, true, groups));
        }
    }
    catch (...) {
        context.setParameter(REPLICA_PARAMETER, -1);
        throw;
    }
    context.setParameter(REPLICA_PARAMETER, -1);
}

void Metropolis::requireReplicaEnergies(ContextImpl& context, int groups) const {
    for (ForceImpl* force : context.getForceImpls()) {
        const Force& owner = force->getOwner();
        bool isUsed = ((groups & (1 << owner.getForceGroup())) != 0);
        if (isUsed && force->getDefaultParameters().count(REPLICA_PARAMETER) == 0)
            throw OpenMMException("The force " + owner.getName() + " has no parameter " + REPLICA_PARAMETER +
                                  ", with which it would compute the energy of one replica: remove it, add the "
                                  "parameter, or use metropolis=False.");
    }
}

void Metropolis::place(ContextImpl& context, const vector<Vec3>& x) {
    context.setPositions(x);
    if (layout.hasVirtualSites)
        context.computeVirtualSites();
}

void Metropolis::slopesAt(const State& state, Slopes& slopes) {
    slopes.gradient.resize(layout.chains.size());
    slopes.logVolume.assign(layout.numReplicas, 0);
    vector<Vec3> x, f;
    for (int c = 0; c < (int) layout.chains.size(); c++) {
        const vector<int>& chain = layout.chains[c];
        double kT = kTOf(replicaOf(c));
        x.resize(chain.size());
        f.resize(chain.size());
        for (int j = 0; j < (int) chain.size(); j++) {
            x[j] = state.x[chain[j]] * ANGSTROM_PER_NM;
            f[j] = state.force[chain[j]] * (-1 / (kT * ANGSTROM_PER_NM));
        }
        axes.compute(x);
        axes.internalGradient(f, slopes.gradient[c]);
        axes.subtractVolumeGradient(slopes.gradient[c]);
        slopes.logVolume[replicaOf(c)] += axes.logVolume();
    }
}

void Metropolis::draw(const NemoLangevinIntegrator& integrator, int chain, int stream, int n) {
    for (vector<double>& v : noise)
        v.resize(n);
    double* const out[3] = {noise[0].data(), noise[1].data(), noise[2].data()};
    bool isChain = (chain < (int) layout.chains.size());
    int replica = (isChain ? replicaOf(chain) : 0), inReplica = (isChain ? chain % layout.chainsPerReplica : chain);
    langevinNoise(integrator.counters.noiseSeed, replica, (uint32_t) integrator.counters.steps, inReplica,
                  (Stream) stream, n, out);
}

} // namespace OpenMMNemo
