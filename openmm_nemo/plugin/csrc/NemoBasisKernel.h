#ifndef OPENMM_NEMO_NEMOBASISKERNEL_H_
#define OPENMM_NEMO_NEMOBASISKERNEL_H_

#include "NemoBasisForce.h"
#include "openmm/KernelImpl.h"
#include "openmm/internal/ContextImpl.h"

namespace OpenMMNemo {

/** Energy and forces of a NemoBasisForce on a platform. */
class CalcNemoBasisForceKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "CalcNemoBasisForce";
    }
    static std::string Owner() {
        return "NemoBasisForce";
    }
    using KernelImpl::KernelImpl;
    virtual void initialize(const NemoBasisForce& force) = 0;
    /** Adds to the forces of the context; returns the energy, unless the platform collects energies itself. */
    virtual double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) = 0;
};

/** Registers the kernels for the Reference and CPU platforms. */
void registerHostBasisKernels();

} // namespace OpenMMNemo

#endif
