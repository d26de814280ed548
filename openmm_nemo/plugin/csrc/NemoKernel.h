#ifndef OPENMM_NEMO_NEMOKERNEL_H_
#define OPENMM_NEMO_NEMOKERNEL_H_

#include "NemoLangevinIntegrator.h"
#include "openmm/KernelImpl.h"
#include "openmm/internal/ContextImpl.h"

namespace OpenMMNemo {

/** The step of a NemoLangevinIntegrator on a platform. */
class IntegrateNemoStepKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "IntegrateNemoStep";
    }
    static std::string Owner() {
        return "NemoLangevinIntegrator";
    }
    using KernelImpl::KernelImpl;
    virtual void initialize(const Layout& layout, const NemoLangevinIntegrator& integrator) = 0;
    /**
     * Moves the particles with the forces that the context has computed; may return before that is done.
     *
     * @return false if a step is known to have failed; no particle moves after that until finish() has reported it
     */
    virtual bool execute(OpenMM::ContextImpl& context, const NemoLangevinIntegrator& integrator) = 0;
    /**
     * Ends a series of steps. Adds what happened in them to the counters, except steps.
     *
     * @return the number of the first step that was not taken because something was not finite, or -1
     */
    virtual long long finish(OpenMM::ContextImpl& context, Counters& counters) = 0;
};
} // namespace OpenMMNemo

#endif
