// Energy and forces of a NemoBasisForce on a GPU platform.
#include "BasisFunctions.h"
#include "Constants.h"
#include "GpuPlatform.h"
#include "NemoBasisKernel.h"
#include "NemoKernelFactory.h"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ContextSelector.h"
#include <algorithm>
#include <map>
#include <memory>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

// clang-format off: each builds on those before it
const char* const KERNELS =
#include "kernels/vectors.cc"
#include "kernels/basisForce.cc"
    ;
// clang-format on

class CommonBasisKernel : public CalcNemoBasisForceKernel {
public:
    CommonBasisKernel(const string& kernelName, const Platform& itsPlatform, GpuPlatform::PlatformData& data)
        : CalcNemoBasisForceKernel(kernelName, itsPlatform), cc(firstContext(data)) {
    }
    void initialize(const NemoBasisForce& itsForce) override;
    double execute(ContextImpl& context, bool includeForces, bool includeEnergy) override;

private:
    class ReorderListener;
    void createKernel();
    void uploadSlots();
    bool mixedIsDouble() const {
        return cc.getUseDoublePrecision() || cc.getUseMixedPrecision();
    }
    ComputeContext& cc;
    const NemoBasisForce* force = nullptr;
    // Set by a listener that may outlive this kernel.
    shared_ptr<bool> orderChanged = make_shared<bool>(true);
    int groupSize = 0, numGroups = 0;
    ComputeKernel kernel;
    ComputeArray slots, places, pairs, chain;
};

class CommonBasisKernel::ReorderListener : public ComputeContext::ReorderListener {
public:
    explicit ReorderListener(shared_ptr<bool> flag) : orderChanged(flag) {
    }
    void execute() override {
        *orderChanged = true;
    }

private:
    shared_ptr<bool> orderChanged;
};

void CommonBasisKernel::initialize(const NemoBasisForce& itsForce) {
    ContextSelector selector(cc);
    force = &itsForce;
    cc.addForce(new ChainInfo({itsForce.particles}));
    cc.addEnergyParameterDerivative(NemoBasisForce::Scale());
    int n = itsForce.particles.size();
    // On a CPU, threads take turns: fewer of them cost less.
    groupSize = (cc.getIsCPU() ? 4 : 64);
    numGroups = min(n, cc.getNumThreadBlocks());
    slots.initialize<int>(cc, n, "nemoBasisSlots");
    places.initialize<int>(cc, n, "nemoBasisPlaces");
    places.upload(itsForce.places());
    // Neighbouring threads read neighbouring coefficients. An array has at least one element.
    vector<float> ofPairs(max<size_t>(1, itsForce.pairs.size())), alongChain = itsForce.chain;
    alongChain.resize(max<size_t>(1, alongChain.size()));
    for (size_t k = 0; k < itsForce.pairs.size(); k++) {
        size_t function = k % NUM_PAIR_FUNCTIONS, j = k / NUM_PAIR_FUNCTIONS % n, i = k / NUM_PAIR_FUNCTIONS / n;
        ofPairs[(i * NUM_PAIR_FUNCTIONS + function) * n + j] = itsForce.pairs[k] / 2;
    }
    pairs.initialize<float>(cc, ofPairs.size(), "nemoBasisPairs");
    chain.initialize<float>(cc, alongChain.size(), "nemoBasisChain");
    pairs.upload(ofPairs);
    chain.upload(alongChain);
    cc.addReorderListener(new ReorderListener(orderChanged));
}

void CommonBasisKernel::createKernel() {
    map<string, string> defines;
    const map<string, double> numbers = {{"ANGSTROM_PER_NM", ANGSTROM_PER_NM},
                                         {"SHORTEST", SHORTEST},
                                         {"KT", GAS_CONSTANT * MODEL_TEMPERATURE},
                                         {"NEAREST", NEAREST},
                                         {"RADIAL_WIDTH", RADIAL_WIDTH},
                                         {"STRAIGHT", STRAIGHT},
                                         {"CUTOFF", CUTOFF},
                                         {"ANGLE_WIDTH", ANGLE_WIDTH},
                                         {"SMOOTHING", SMOOTHING},
                                         {"BOND_LENGTH", BOND_LENGTH},
                                         {"BOND_WIDTH", BOND_WIDTH},
                                         {"BOND_STRENGTH", BOND_STRENGTH},
                                         {"CORE_DIAMETER", CORE_DIAMETER},
                                         {"CORE_STIFFNESS", CORE_STIFFNESS}};
    for (auto& [label, value] : numbers)
        defines[label] = cc.doubleToString(value, true);
    auto list = [&](const double* values, int count) {
        string text;
        for (int k = 0; k < count; k++)
            text += (k > 0 ? ", " : "") + cc.doubleToString(values[k], true);
        return text;
    };
    defines["SHELL_CENTRES"] = list(SHELL_CENTRES, NUM_SHELLS);
    defines["SHELL_WIDTHS"] = list(SHELL_WIDTHS, NUM_SHELLS);
    defines["ANGLE_CENTRES"] = list(ANGLE_CENTRES, NUM_ANGLES);
    const vector<string>& derivatives = cc.getEnergyParamDerivNames();
    int derivative = find(derivatives.begin(), derivatives.end(), NemoBasisForce::Scale()) - derivatives.begin();
    const map<string, int> counts = {{"GROUP_SIZE", groupSize},
                                     {"PADDED_NUM_ATOMS", cc.getPaddedNumAtoms()},
                                     {"NUM_RESIDUES", (int) force->particles.size()},
                                     {"NUM_RADIAL", NUM_RADIAL},
                                     {"NUM_SHELLS", NUM_SHELLS},
                                     {"NUM_PAIR_FUNCTIONS", NUM_PAIR_FUNCTIONS},
                                     {"NUM_ANGLES", NUM_ANGLES},
                                     {"NUM_CHAIN_FUNCTIONS", NUM_CHAIN_FUNCTIONS},
                                     {"MIN_SEPARATION", MIN_SEPARATION},
                                     {"NUM_DERIVATIVES", (int) derivatives.size()},
                                     {"DERIVATIVE", derivative}};
    for (auto& [label, value] : counts)
        defines[label] = cc.intToString(value);
    if (!force->pairs.empty())
        defines["HAS_PAIRS"] = "1";
    if (!force->chain.empty())
        defines["HAS_CHAIN"] = "1";
    if (force->hasBackbone)
        defines["HAS_BACKBONE"] = "1";
    kernel = cc.compileProgram(KERNELS, defines)->createKernel("nemoBasisForce");
    // Only in mixed precision do positions have a second part.
    ArrayInterface& correction = (cc.getUseMixedPrecision() ? cc.getPosqCorrection() : cc.getPosq());
    kernel->addArg();
    for (ArrayInterface* array :
         {&cc.getLongForceBuffer(), &cc.getEnergyBuffer(), &cc.getEnergyParamDerivBuffer(), &cc.getPosq(), &correction})
        kernel->addArg(*array);
    for (ComputeArray* array : {&slots, &places, &pairs, &chain})
        kernel->addArg(*array);
}

void CommonBasisKernel::uploadSlots() {
    const vector<int>& order = cc.getAtomIndex();
    vector<int> slotOf(cc.getNumAtoms()), ofResidues;
    for (int slot = 0; slot < cc.getNumAtoms(); slot++)
        slotOf[order[slot]] = slot;
    for (int particle : force->particles)
        ofResidues.push_back(slotOf[particle]);
    slots.upload(ofResidues);
    *orderChanged = false;
}

double CommonBasisKernel::execute(ContextImpl& context, bool, bool) {
    ContextSelector selector(cc);
    // The buffers are made after all forces have been initialized.
    if (!kernel)
        createKernel();
    if (*orderChanged)
        uploadSlots();
    const double scale = context.getParameter(NemoBasisForce::Scale());
    if (mixedIsDouble())
        kernel->setArg(0, scale);
    else
        kernel->setArg(0, (float) scale);
    kernel->execute(numGroups * groupSize, groupSize);
    return 0;
}

} // namespace

void registerGpuBasisKernel() {
    NemoKernelFactory<CommonBasisKernel, GpuPlatform>::registerWithPlatforms();
}

} // namespace OpenMMNemo
