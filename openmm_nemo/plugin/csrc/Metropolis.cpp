#include "Metropolis.h"
#include "VectorMath.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {

Metropolis::Metropolis(const Layout& systemLayout)
    : layout(systemLayout), moving(systemLayout.freeParticles), known(false), knownGroups(0) {
    for (const vector<int>& chain : layout.chains)
        moving.insert(moving.end(), chain.begin(), chain.end());
}

void Metropolis::step(ContextImpl& context, NemoLangevinIntegrator& integrator) {
    now = integrator.nextStep();
    Counters& counters = integrator.counters;
    int groups = integrator.getIntegrationForceGroups();
    // Minimizers, other integrators and changes of the box do not notify this integrator.
    vector<Vec3> before;
    Vec3 box[3];
    context.getPositions(before);
    context.getPeriodicBoxVectors(box[0], box[1], box[2]);
    if (!known || groups != knownGroups || before != current.x || !equal(box, box + 3, knownBox)) {
        known = false;
        evaluate(context, current, groups);
        knownGroups = groups;
        copy(box, box + 3, knownBox);
        if (!isfinite(current.energy))
            throw OpenMMException("The energy is not finite at step " + to_string(counters.steps) + ".");
        for (const Vec3& f : current.force)
            if (!isfinite(f.dot(f)))
                throw OpenMMException("The forces are not finite at step " + to_string(counters.steps) + ".");
    }
    double u[2];
    acceptanceNumbers(counters.noiseSeed, (uint32_t) counters.steps, u);
    before = current.x;
    const Counters countersBefore = counters;
    try {
        if (now.cartesianStep > 0) {
            counters.acceptedCartesian += tryCartesian(context, integrator, u[0]);
            counters.proposedCartesian++;
        }
        if (now.internalStep > 0) {
            counters.acceptedInternal += tryInternal(context, integrator, u[1]);
            counters.proposedInternal++;
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

bool Metropolis::tryCartesian(ContextImpl& context, const NemoLangevinIntegrator& integrator, double u) {
    double half = 0.5 / (GAS_CONSTANT * now.temperature);
    proposal.x = current.x;
    auto propose = [&](int particle, int bead) {
        double variance = now.cartesianStep * layout.cartesianPreconditioner[particle];
        Vec3 normal(noiseOf(bead, 0), noiseOf(bead, 1), noiseOf(bead, 2));
        proposal.x[particle] += current.force[particle] * (half * variance) + normal * sqrt(variance);
    };
    for (int c = 0; c < (int) layout.chains.size(); c++) {
        draw(integrator, c, CartesianStream, layout.chains[c].size());
        for (int i = 0; i < (int) layout.chains[c].size(); i++)
            propose(layout.chains[c][i], i);
    }
    if (!layout.freeParticles.empty()) {
        draw(integrator, layout.chains.size(), CartesianStream, layout.freeParticles.back() + 1);
        for (int particle : layout.freeParticles)
            propose(particle, particle);
    }
    return decide(context, u, [&]() {
        double sum = 0;
        for (int i : moving) {
            double variance = now.cartesianStep * layout.cartesianPreconditioner[i];
            if (variance == 0)
                continue;
            Vec3 d = proposal.x[i] - current.x[i];
            Vec3 forth = d - current.force[i] * (half * variance), back = d + proposal.force[i] * (half * variance);
            sum += (forth.dot(forth) - back.dot(back)) / (2 * variance);
        }
        return sum;
    });
}

bool Metropolis::tryInternal(ContextImpl& context, const NemoLangevinIntegrator& integrator, double u) {
    double kT = GAS_CONSTANT * now.temperature;
    int numChains = layout.chains.size();
    Slopes here, there;
    slopesAt(current, kT, here);
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
                double variance = now.internalStep * layout.internalPreconditioner[chain[j]][k];
                dz[c][j][k] = sqrt(variance) * noiseOf(j, k) - 0.5 * variance * here.gradient[c][j][k];
            }
        }
        axes.compute(x);
        axes.rebuild(x[0], dz[c], rebuilt);
        for (int j = 0; j < n; j++)
            proposal.x[chain[j]] = rebuilt[j] / ANGSTROM_PER_NM;
    }
    return decide(context, u, [&]() {
        slopesAt(proposal, kT, there);
        double sum = there.logVolume - here.logVolume;
        for (int c = 0; c < numChains; c++)
            for (int j = 0; j < (int) dz[c].size(); j++)
                for (int k = 0; k < min(j, 3); k++) {
                    double variance = now.internalStep * layout.internalPreconditioner[layout.chains[c][j]][k];
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
bool Metropolis::decide(ContextImpl& context, double u, LogRatio logRatio) {
    double kT = GAS_CONSTANT * now.temperature;
    place(context, proposal.x);
    evaluate(context, proposal, knownGroups);
    // NaN is never accepted.
    if (log(u) < -(proposal.energy - current.energy) / kT + logRatio()) {
        swap(current, proposal);
        return true;
    }
    place(context, current.x);
    return false;
}

void Metropolis::evaluate(ContextImpl& context, State& state, int groups) {
    state.energy = context.calcForcesAndEnergy(true, true, groups);
    context.getForces(state.force);
    // Positions as rounded by the platform, as in a checkpoint, and virtual sites.
    context.getPositions(state.x);
}

void Metropolis::place(ContextImpl& context, const vector<Vec3>& x) {
    context.setPositions(x);
    if (layout.hasVirtualSites)
        context.computeVirtualSites();
}

void Metropolis::slopesAt(const State& state, double kT, Slopes& slopes) {
    slopes.gradient.resize(layout.chains.size());
    slopes.logVolume = 0;
    vector<Vec3> x, f;
    for (int c = 0; c < (int) layout.chains.size(); c++) {
        const vector<int>& chain = layout.chains[c];
        x.resize(chain.size());
        f.resize(chain.size());
        for (int j = 0; j < (int) chain.size(); j++) {
            x[j] = state.x[chain[j]] * ANGSTROM_PER_NM;
            f[j] = state.force[chain[j]] * (-1 / (kT * ANGSTROM_PER_NM));
        }
        axes.compute(x);
        axes.internalGradient(f, slopes.gradient[c]);
        axes.subtractVolumeGradient(slopes.gradient[c]);
        slopes.logVolume += axes.logVolume();
    }
}

void Metropolis::draw(const NemoLangevinIntegrator& integrator, int chain, int stream, int n) {
    for (vector<double>& v : noise)
        v.resize(n);
    double* const out[3] = {noise[0].data(), noise[1].data(), noise[2].data()};
    langevinNoise(integrator.counters.noiseSeed, (uint32_t) integrator.counters.steps, chain, (Stream) stream, n, out);
}

} // namespace OpenMMNemo
