// The step in double precision on the host, for the Reference and CPU platforms; it takes time proportional to the
// number of particles.
#include "ChainMath.h"
#include "NemoBasisKernel.h"
#include "NemoKernel.h"
#include "NemoKernelFactory.h"
#include "VectorMath.h"
#include "openmm/PluginInitializer.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"
#include <cmath>
#include <memory>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

class ReferenceNemoKernel : public IntegrateNemoStepKernel {
public:
    ReferenceNemoKernel(const string& kernelName, const Platform& itsPlatform, ReferencePlatform::PlatformData& itsData)
        : IntegrateNemoStepKernel(kernelName, itsPlatform), data(itsData) {
    }
    void initialize(const Layout& layout, const NemoLangevinIntegrator& integrator) override;
    bool execute(ContextImpl& context, const NemoLangevinIntegrator& integrator) override;
    long long finish(ContextImpl& context, Counters& counters) override;

private:
    /** Computes x and d of the beads of a chain, Angstrom; returns whether the internal step was clipped. */
    bool moveChain(int number, const NemoLangevinIntegrator& integrator);
    void moveFreeParticles(const NemoLangevinIntegrator& integrator);
    ReferencePlatform::PlatformData& data;
    vector<StepSizes> sizes; // of each replica
    unique_ptr<Layout> layout;
    int numBeads = 0;
    long long failed = -1, clippedSteps = 0;
    double largest = 0;
    // Square roots of each particle's preconditioners.
    vector<double> cartesianRoot;
    vector<Vec3> internalRoot;
    // Positions and displacements of all moving particles, chain by chain, then the free ones, Angstrom.
    vector<int> particles;
    vector<Vec3> allX, allD;
    // For one chain
    vector<Vec3> x, y, d, gradient, slope, dz, first, second;
    vector<double> noise[3];
    ChainAxes axes;
};

void ReferenceNemoKernel::initialize(const Layout& systemLayout, const NemoLangevinIntegrator&) {
    layout.reset(new Layout(systemLayout));
    for (const vector<int>& chain : layout->chains)
        particles.insert(particles.end(), chain.begin(), chain.end());
    numBeads = particles.size();
    for (double c : layout->cartesianPreconditioner)
        cartesianRoot.push_back(sqrt(c));
    for (const Vec3& c : layout->internalPreconditioner)
        internalRoot.push_back(Vec3(sqrt(c[0]), sqrt(c[1]), sqrt(c[2])));
    particles.insert(particles.end(), layout->freeParticles.begin(), layout->freeParticles.end());
}

bool ReferenceNemoKernel::execute(ContextImpl& context, const NemoLangevinIntegrator& integrator) {
    const Parameters& p = integrator.parameters;
    sizes.clear();
    for (int i = 0; i < layout->numReplicas; i++)
        sizes.push_back(integrator.nextStep(i));
    allX.clear();
    allD.clear();
    bool clipped = false;
    for (int i = 0; i < (int) layout->chains.size(); i++) {
        clipped |= moveChain(i, integrator);
        allX.insert(allX.end(), x.begin(), x.end());
        allD.insert(allD.end(), d.begin(), d.end());
    }
    moveFreeParticles(integrator);
    if (p.detrend == Detrend::System) {
        RigidMotion rigid(allX, allD);
        for (int i = 0; i < (int) allX.size(); i++)
            allD[i] = (p.measureCorrection ? rigid.removedRigidly(allX[i], allD[i]) : rigid.removed(allX[i], allD[i]));
    }
    // Forces that are not finite give displacements that are not finite.
    double sum = 0;
    for (const Vec3& v : allD)
        sum += v[0] + v[1] + v[2];
    if (!isfinite(sum)) {
        failed = integrator.counters.steps;
        return false;
    }
    double longest = 0;
    for (int i = 0; i < (int) allX.size(); i++) {
        if (i < numBeads)
            longest = max(longest, allD[i].dot(allD[i]));
        (*data.positions)[particles[i]] += allD[i] / ANGSTROM_PER_NM;
    }
    if (layout->hasVirtualSites)
        context.computeVirtualSites();
    largest = sqrt(longest) / ANGSTROM_PER_NM;
    clippedSteps += clipped;
    return true;
}

long long ReferenceNemoKernel::finish(ContextImpl&, Counters& counters) {
    long long result = failed;
    counters.clippedSteps += clippedSteps;
    counters.largestDisplacement = largest;
    clippedSteps = 0;
    failed = -1;
    return result;
}

bool ReferenceNemoKernel::moveChain(int number, const NemoLangevinIntegrator& integrator) {
    const Parameters& p = integrator.parameters;
    const vector<int>& chain = layout->chains[number];
    int replica = number / layout->chainsPerReplica, inReplica = number % layout->chainsPerReplica;
    const StepSizes& now = sizes[replica];
    int n = chain.size();
    for (vector<Vec3>* v : {&x, &y, &d, &gradient, &dz})
        v->resize(n);
    for (vector<double>& v : noise)
        v.resize(n);
    double* const normal[3] = {noise[0].data(), noise[1].data(), noise[2].data()};
    uint32_t step = (uint32_t) integrator.counters.steps;

    langevinNoise(integrator.counters.noiseSeed, replica, step, inReplica, CartesianStream, n, normal);
    double forceScale = -1 / (GAS_CONSTANT * now.temperature * ANGSTROM_PER_NM);
    double sqrtEpsX = sqrt(now.cartesianStep) * ANGSTROM_PER_NM, sqrtEpsZ = sqrt(now.internalStep);
    for (int i = 0; i < n; i++) {
        x[i] = (*data.positions)[chain[i]] * ANGSTROM_PER_NM;
        gradient[i] = (*data.forces)[chain[i]] * forceScale;
        double deviation = sqrtEpsX * cartesianRoot[chain[i]];
        d[i] = Vec3(noise[0][i], noise[1][i], noise[2][i]) * deviation - gradient[i] * (0.5 * deviation * deviation);
        y[i] = x[i] + d[i];
    }

    // The internal step starts from there, with the same forces.
    axes.compute(y);
    axes.internalGradient(gradient, slope);
    if (p.measureCorrection)
        axes.subtractVolumeGradient(slope);
    langevinNoise(integrator.counters.noiseSeed, replica, step, inReplica, InternalStream, n, normal);
    for (int j = 0; j < n; j++)
        for (int k = 0; k < 3; k++) {
            double deviation = sqrtEpsZ * internalRoot[chain[j]][k];
            dz[j][k] = deviation * (noise[k][j] - 0.5 * deviation * slope[j][k]);
        }
    axes.displacement(dz, first);
    bool clipped = false;
    if (isfinite(p.maxDisplacement)) {
        double limit = p.maxDisplacement * ANGSTROM_PER_NM, fastest = 0;
        RigidMotion rigid(y, first);
        for (int i = 0; i < n; i++) {
            Vec3 v = rigid.removed(y[i], first[i]);
            fastest = max(fastest, v.dot(v));
        }
        fastest = sqrt(fastest);
        clipped = (fastest > limit);
        if (clipped)
            for (int i = 0; i < n; i++) {
                dz[i] *= limit / fastest;
                first[i] *= limit / fastest;
            }
    }
    for (int i = 0; i < n; i++)
        y[i] += first[i];
    axes.compute(y);
    axes.displacement(dz, second);
    for (int i = 0; i < n; i++)
        d[i] += (first[i] + second[i]) * 0.5;
    if (p.detrend == Detrend::Chains) {
        RigidMotion rigid(x, d);
        for (int i = 0; i < n; i++)
            d[i] = (p.measureCorrection ? rigid.removedRigidly(x[i], d[i]) : rigid.removed(x[i], d[i]));
    }
    return clipped;
}

void ReferenceNemoKernel::moveFreeParticles(const NemoLangevinIntegrator& integrator) {
    if (layout->freeParticles.empty())
        return;
    // Their noise is that of one more chain, with the particles' own indices as beads.
    int n = layout->freeParticles.back() + 1;
    for (vector<double>& v : noise)
        v.resize(n);
    double* const normal[3] = {noise[0].data(), noise[1].data(), noise[2].data()};
    const StepSizes& now = sizes[0];
    langevinNoise(integrator.counters.noiseSeed, 0, (uint32_t) integrator.counters.steps, layout->chains.size(),
                  CartesianStream, n, normal);
    for (int i : layout->freeParticles) {
        double deviation = sqrt(now.cartesianStep) * cartesianRoot[i]; // nm
        Vec3 drift = (*data.forces)[i] * (0.5 * deviation * deviation / (GAS_CONSTANT * now.temperature));
        allX.push_back((*data.positions)[i] * ANGSTROM_PER_NM);
        allD.push_back((drift + Vec3(noise[0][i], noise[1][i], noise[2][i]) * deviation) * ANGSTROM_PER_NM);
    }
}

} // namespace
} // namespace OpenMMNemo

extern "C" void registerPlatforms() {
}

extern "C" void registerKernelFactories() {
    using namespace OpenMMNemo;
    // The CPU platform is also a ReferencePlatform.
    NemoKernelFactory<ReferenceNemoKernel, ReferencePlatform>::registerWithPlatforms();
    registerHostBasisKernels();
}
