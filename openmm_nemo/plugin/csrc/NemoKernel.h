#ifndef OPENMM_NEMO_NEMOKERNEL_H_
#define OPENMM_NEMO_NEMOKERNEL_H_

#include "NemoLangevinIntegrator.h"
#include "openmm/KernelFactory.h"
#include "openmm/KernelImpl.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/internal/ContextImpl.h"

namespace OpenMMNemo {

/** The step of a NemoLangevinIntegrator on a platform. */
class IntegrateNemoStepKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "IntegrateNemoStep";
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

namespace {

/**
 * Creates kernels of one class for platforms of one class; the kernel is constructed with the platform's PlatformData.
 *
 * The class has internal linkage, so that every library compares its own release.
 */
template <class KernelClass, class PlatformClass>
class NemoKernelFactory : public OpenMM::KernelFactory {
public:
    /** Registers a factory with all platforms of the class. */
    static void registerWithPlatforms() {
        for (int i = 0; i < OpenMM::Platform::getNumPlatforms(); i++) {
            OpenMM::Platform& platform = OpenMM::Platform::getPlatform(i);
            if (dynamic_cast<PlatformClass*>(&platform) != nullptr)
                platform.registerKernelFactory(IntegrateNemoStepKernel::Name(), new NemoKernelFactory());
        }
    }

    /** Checks everything that determines the type of the platform's data before using them. */
    OpenMM::KernelImpl* createKernelImpl(std::string name, const OpenMM::Platform& platform,
                                         OpenMM::ContextImpl& context) const override {
        using OpenMM::OpenMMException;
        if (name != IntegrateNemoStepKernel::Name())
            throw OpenMMException("NemoLangevinIntegrator has no kernel '" + name + "'.");
        if (OpenMM::Platform::getOpenMMVersion() != OPENMM_NEMO_BUILT_FOR)
            throw OpenMMException("openmm_nemo was built for OpenMM " OPENMM_NEMO_BUILT_FOR ", but this is OpenMM " +
                                  OpenMM::Platform::getOpenMMVersion() + ": install openmm_nemo again.");
        if (dynamic_cast<const PlatformClass*>(&platform) == nullptr)
            throw OpenMMException("The platform " + platform.getName() +
                                  " was given the NemoLangevinIntegrator of another platform.");
        auto* data = static_cast<typename PlatformClass::PlatformData*>(context.getPlatformData());
        if (&context.getPlatform() != &platform || data == nullptr)
            throw OpenMMException("NemoLangevinIntegrator was given a context that is not one of the platform " +
                                  platform.getName() + ".");
        return new KernelClass(name, platform, *data);
    }
};

} // namespace
} // namespace OpenMMNemo

#endif
