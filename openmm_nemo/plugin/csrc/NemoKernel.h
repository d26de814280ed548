#ifndef OPENMM_NEMO_NEMOKERNEL_H_
#define OPENMM_NEMO_NEMOKERNEL_H_

#include "NemoLangevinIntegrator.h"
#include "openmm/KernelImpl.h"

namespace OpenMMNemo {

/** The step of a NemoLangevinIntegrator on a platform. */
class IntegrateNemoStepKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "IntegrateNemoStep";
    }
    IntegrateNemoStepKernel(const std::string& name, const OpenMM::Platform& platform) : KernelImpl(name, platform) {
    }
    virtual void initialize(const Layout& layout, const NemoLangevinIntegrator& integrator) = 0;
    /**
     * Moves the particles with the forces that the context has computed; may return before that is done.
     *
     * @return false if it is known that a step has failed; no particle moves after that until finish() has told
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
