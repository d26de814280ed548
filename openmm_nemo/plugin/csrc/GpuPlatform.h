#ifndef OPENMM_NEMO_GPUPLATFORM_H_
#define OPENMM_NEMO_GPUPLATFORM_H_

// What the kernels for GPU platforms have in common. They are compiled with OPENMM_NEMO_OPENCL, OPENMM_NEMO_CUDA or
// OPENMM_NEMO_HIP. Of OpenMM's headers for these, only the platform's is included, which needs no header of the
// device's own; the contexts of all three are ComputeContexts.
#include "openmm/common/ComputeContext.h"
#include "openmm/common/ComputeForceInfo.h"
#include <vector>

#if defined(OPENMM_NEMO_OPENCL)
#include "openmm/opencl/OpenCLPlatform.h"
using GpuPlatform = OpenMM::OpenCLPlatform;
#elif defined(OPENMM_NEMO_CUDA)
#include "openmm/cuda/CudaPlatform.h"
using GpuPlatform = OpenMM::CudaPlatform;
#elif defined(OPENMM_NEMO_HIP)
#include "openmm/hip/HipPlatform.h"
using GpuPlatform = OpenMM::HipPlatform;
#endif

namespace OpenMMNemo {
namespace {

/** Keeps the beads of a chain in one molecule, so that they are wrapped and reordered together. */
class ChainInfo : public OpenMM::ComputeForceInfo {
public:
    explicit ChainInfo(const std::vector<std::vector<int>>& allChains) : chains(allChains) {
    }
    int getNumParticleGroups() override {
        return chains.size();
    }
    void getParticlesInGroup(int index, std::vector<int>& particles) override {
        particles = chains[index];
    }
    bool areGroupsIdentical(int group1, int group2) override {
        return group1 == group2;
    }

private:
    std::vector<std::vector<int>> chains;
};

/** The context of the first device. Its class derives from ComputeContext, but its header would need the device's own.
 */
inline OpenMM::ComputeContext& firstContext(GpuPlatform::PlatformData& data) {
    return *reinterpret_cast<OpenMM::ComputeContext*>(data.contexts.at(0));
}

} // namespace

/** Registers the kernel of NemoBasisForce. */
void registerGpuBasisKernel();

} // namespace OpenMMNemo

#endif
