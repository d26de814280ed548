// The step on a GPU platform.
#include "Constants.h"
#include "GpuPlatform.h"
#include "NemoBasisKernel.h"
#include "NemoKernel.h"
#include "NemoKernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmm/PluginInitializer.h"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include "openmm/common/ContextSelector.h"
#include "openmm/internal/ContextImpl.h"
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

// clang-format off: each builds on those before it
const char* const KERNELS =
#include "kernels/vectors.cc"
#include "kernels/noise.cc"
#include "kernels/chain.cc"
#include "kernels/rigidMotion.cc"
#include "kernels/nemoStep.cc"
    ;
// clang-format on

const int SUMMARY_SIZE = 18;
const int STEPS_BETWEEN_CHECKS = 200;
const int FREE_PORTION = 256;

class CommonNemoKernel : public IntegrateNemoStepKernel {
public:
    CommonNemoKernel(const string& kernelName, const Platform& itsPlatform, GpuPlatform::PlatformData& data)
        : IntegrateNemoStepKernel(kernelName, itsPlatform), cc(firstContext(data)) {
    }
    void initialize(const Layout& layout, const NemoLangevinIntegrator& integrator) override;
    bool execute(ContextImpl& context, const NemoLangevinIntegrator& integrator) override;
    long long finish(ContextImpl& context, Counters& counters) override;

private:
    class ReorderListener;
    void createKernels(const Parameters& parameters);
    void uploadSlots();
    /** Fetches what the device has recorded since the last call. */
    void check();
    bool mixedIsDouble() const {
        return cc.getUseDoublePrecision() || cc.getUseMixedPrecision();
    }
    void setMixedArg(int index, double value);
    ComputeContext& cc;
    unique_ptr<Layout> layout;
    // Set by a listener that may outlive this kernel.
    shared_ptr<bool> orderChanged = make_shared<bool>(true);
    int groupSize = 0, numSegments = 0, numBeads = 0, numMoving = 0, moveThreads = 0, stepsSinceCheck = 0;
    long long firstStep = 0, clippedSteps = 0, failedStep = -1;
    double largest = 0;
    vector<double> coldnessOnDevice;
    ComputeKernel displace, move;
    ComputeArray slots, particles, chainStart, internalRoots, cartesianRoots, coldness;
    ComputeArray x, y, gradient, dz, d, stage, stretch, bend, direction, summary, status;
};

class CommonNemoKernel::ReorderListener : public ComputeContext::ReorderListener {
public:
    explicit ReorderListener(shared_ptr<bool> flag) : orderChanged(flag) {
    }
    void execute() override {
        *orderChanged = true;
    }

private:
    shared_ptr<bool> orderChanged;
};

void CommonNemoKernel::initialize(const Layout& systemLayout, const NemoLangevinIntegrator& integrator) {
    layout.reset(new Layout(systemLayout));
    // Molecules are found only once; in a CompoundIntegrator, this may have happened for another integrator.
    if (!cc.getEnergyBuffer().isInitialized())
        cc.addForce(new ChainInfo(layout->chains));
    else if (cc.getNonbondedUtilities().getUseCutoff())
        throw OpenMMException(
            "In a CompoundIntegrator of a system with a cutoff, NemoLangevinIntegrator must come first.");
    cc.initializeContexts();
    if (cc.getNumContexts() > 1)
        throw OpenMMException("NemoLangevinIntegrator runs on one device: give one DeviceIndex.");
    ContextSelector selector(cc);

    vector<int> order, starts;
    for (const vector<int>& chain : layout->chains) {
        starts.push_back(order.size());
        order.insert(order.end(), chain.begin(), chain.end());
    }
    numBeads = order.size();
    starts.push_back(order.size());
    // Particles in no chain are processed in portions, so that many work groups share the work.
    for (int i = 0; i < (int) layout->freeParticles.size(); i++) {
        order.push_back(layout->freeParticles[i]);
        if ((i + 1) % FREE_PORTION == 0 || i + 1 == (int) layout->freeParticles.size())
            starts.push_back(order.size());
    }
    numMoving = order.size();
    numSegments = starts.size() - 1;
    // On a CPU, threads take turns: fewer of them cost less.
    groupSize = (cc.getIsCPU() ? 4 : 128);
    int moveGroups = min((numMoving + groupSize - 1) / groupSize, cc.getNumThreadBlocks());
    moveThreads = moveGroups * groupSize;

    int size = (mixedIsDouble() ? sizeof(double) : sizeof(float));
    slots.initialize<int>(cc, cc.getNumAtoms(), "nemoSlots");
    particles.initialize<int>(cc, numMoving, "nemoParticles");
    chainStart.initialize<int>(cc, starts.size(), "nemoChainStart");
    particles.upload(order);
    chainStart.upload(starts);
    cartesianRoots.initialize(cc, numMoving, size, "nemoCartesianRoots");
    coldness.initialize(cc, layout->numReplicas, size, "nemoColdness");
    map<ComputeArray*, const char*> perBead = {{&internalRoots, "nemoInternalRoots"},
                                               {&x, "nemoX"},
                                               {&y, "nemoY"},
                                               {&gradient, "nemoGradient"},
                                               {&dz, "nemoDz"},
                                               {&d, "nemoD"},
                                               {&stage, "nemoStage"},
                                               {&stretch, "nemoStretch"},
                                               {&bend, "nemoBend"},
                                               {&direction, "nemoDirection"}};
    for (auto& [array, label] : perBead)
        array->initialize(cc, numMoving, 4 * size, label);
    summary.initialize(cc, numSegments * SUMMARY_SIZE, size, "nemoSummary");
    status.initialize<float>(cc, 2 + moveGroups, "nemoStatus");
    status.upload(vector<float>(2 + moveGroups, 0.0f));
    vector<double> cartesian;
    vector<mm_double4> internal;
    for (int particle : order) {
        Vec3 c = layout->internalPreconditioner[particle];
        cartesian.push_back(sqrt(layout->cartesianPreconditioner[particle]));
        internal.push_back(mm_double4(sqrt(c[0]), sqrt(c[1]), sqrt(c[2]), 0));
    }
    cartesianRoots.upload(cartesian, true);
    internalRoots.upload(internal, true);
    cc.addReorderListener(new ReorderListener(orderChanged));
    createKernels(integrator.parameters);
}

void CommonNemoKernel::createKernels(const Parameters& p) {
    map<string, string> defines;
    defines["GROUP_SIZE"] = cc.intToString(groupSize);
    defines["SUMMARY_SIZE"] = cc.intToString(SUMMARY_SIZE);
    defines["NUM_CHAINS"] = cc.intToString(layout->chains.size());
    defines["CHAINS_PER_REPLICA"] = cc.intToString(layout->chainsPerReplica);
    defines["NUM_SEGMENTS"] = cc.intToString(numSegments);
    defines["NUM_BEADS"] = cc.intToString(numBeads);
    defines["NUM_MOVING"] = cc.intToString(numMoving);
    defines["PADDED_NUM_ATOMS"] = cc.intToString(cc.getPaddedNumAtoms());
    defines["KEEP_SHAPE"] = (p.measureCorrection ? "1" : "0");
    defines["CARTESIAN_STREAM"] = cc.intToString(CartesianStream);
    defines["INTERNAL_STREAM"] = cc.intToString(InternalStream);
    defines["PI"] = cc.doubleToString(PI, true);
    defines["ANGSTROM_PER_NM"] = cc.doubleToString(ANGSTROM_PER_NM, true);
    defines["SHORTEST"] = cc.doubleToString(SHORTEST, true);
    defines["SMALLEST_ROTATION"] = cc.doubleToString(SMALLEST_ROTATION, true);
    defines["RIDGE"] = cc.doubleToString(mixedIsDouble() ? RIDGE : RIDGE_SINGLE, true);
    defines["RIDGE_FLOOR"] = cc.doubleToString(RIDGE_FLOOR, true);
    defines["LARGEST_FORCE"] = cc.doubleToString(LARGEST_FORCE, true);
    if (p.measureCorrection)
        defines["MEASURE_CORRECTION"] = "1";
    if (p.detrend == Detrend::Chains)
        defines["DETREND_CHAINS"] = "1";
    if (p.detrend == Detrend::System)
        defines["DETREND_SYSTEM"] = "1";
    ComputeProgram program = cc.compileProgram(KERNELS, defines);
    // Only in mixed precision do positions have a second part.
    ArrayInterface& correction = (cc.getUseMixedPrecision() ? cc.getPosqCorrection() : cc.getPosq());
    displace = program->createKernel("nemoDisplace");
    for (int i = 0; i < 6; i++)
        displace->addArg();
    for (ArrayInterface* array : {&cc.getPosq(), &correction, &cc.getLongForceBuffer()})
        displace->addArg(*array);
    for (ComputeArray* array : {&slots, &particles, &chainStart, &internalRoots, &cartesianRoots, &coldness, &x, &y,
                                &gradient, &dz, &d, &stage, &stretch, &bend, &direction, &summary})
        displace->addArg(*array);
    move = program->createKernel("nemoMove");
    move->addArg();
    move->addArg(cc.getPosq());
    move->addArg(correction);
    for (ComputeArray* array : {&slots, &particles, &d, &summary, &status})
        move->addArg(*array);
}

void CommonNemoKernel::setMixedArg(int index, double value) {
    if (mixedIsDouble())
        displace->setArg(index, value);
    else
        displace->setArg(index, (float) value);
}

void CommonNemoKernel::uploadSlots() {
    const vector<int>& order = cc.getAtomIndex();
    vector<int> slotOf(cc.getNumAtoms());
    for (int slot = 0; slot < cc.getNumAtoms(); slot++)
        slotOf[order[slot]] = slot;
    slots.upload(slotOf);
    *orderChanged = false;
}

bool CommonNemoKernel::execute(ContextImpl& context, const NemoLangevinIntegrator& integrator) {
    ContextSelector selector(cc);
    StepSizes now = integrator.nextStep();
    if (*orderChanged)
        uploadSlots();
    vector<double> ratios(1, 1.0);
    for (double temperature : integrator.parameters.otherTemperatures)
        ratios.push_back(integrator.parameters.temperature / temperature);
    if (ratios != coldnessOnDevice) {
        coldness.upload(ratios, true);
        coldnessOnDevice = ratios;
    }
    displace->setArg(0, (unsigned int) integrator.counters.noiseSeed);
    displace->setArg(1, (unsigned int) integrator.counters.steps);
    setMixedArg(2, 1 / (GAS_CONSTANT * now.temperature));
    setMixedArg(3, sqrt(now.cartesianStep) * ANGSTROM_PER_NM);
    setMixedArg(4, sqrt(now.internalStep));
    double limit = integrator.parameters.maxDisplacement;
    setMixedArg(5, isfinite(limit) ? limit * ANGSTROM_PER_NM : -1);
    displace->execute(numSegments * groupSize, groupSize);
    if (stepsSinceCheck == 0)
        firstStep = integrator.counters.steps;
    move->setArg(0, stepsSinceCheck);
    move->execute(moveThreads, groupSize);
    if (layout->hasVirtualSites)
        context.computeVirtualSites();
    cc.reorderAtoms();
    stepsSinceCheck++;
    // Waiting for the device is expensive, but so is a long run that has already failed.
    if (stepsSinceCheck == STEPS_BETWEEN_CHECKS)
        check();
    return failedStep < 0;
}

void CommonNemoKernel::check() {
    vector<float> now;
    status.download(now);
    clippedSteps += (long long) now[0];
    if (now[1] > 0)
        failedStep = firstStep + (long long) now[1] - 1;
    largest = *max_element(now.begin() + 2, now.end());
    if (now[0] > 0 || now[1] > 0) {
        fill(now.begin(), now.begin() + 2, 0.0f);
        status.upload(now);
    }
    stepsSinceCheck = 0;
}

long long CommonNemoKernel::finish(ContextImpl&, Counters& counters) {
    ContextSelector selector(cc);
    if (stepsSinceCheck > 0)
        check();
    counters.clippedSteps += clippedSteps;
    counters.largestDisplacement = largest;
    long long failed = failedStep;
    clippedSteps = 0;
    failedStep = -1;
    return failed;
}

} // namespace
} // namespace OpenMMNemo

extern "C" void registerPlatforms() {
}

extern "C" void registerKernelFactories() {
    using namespace OpenMMNemo;
    NemoKernelFactory<CommonNemoKernel, GpuPlatform>::registerWithPlatforms();
    registerGpuBasisKernel();
}
