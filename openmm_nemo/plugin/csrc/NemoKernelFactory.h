#ifndef OPENMM_NEMO_NEMOKERNELFACTORY_H_
#define OPENMM_NEMO_NEMOKERNELFACTORY_H_

#include "openmm/KernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/internal/ContextImpl.h"

namespace OpenMMNemo {
namespace {

/**
 * Creates kernels of one class for platforms of one class; the kernel is constructed with the platform's PlatformData.
 *
 * The class has internal linkage, so that every library compares its own release.
 */
template <class KernelClass, class PlatformClass>
class NemoKernelFactory : public OpenMM::KernelFactory {
public:
    /** Registers a factory with all platforms of the class, or with the one of a name. */
    static void registerWithPlatforms(const std::string& platformName = "") {
        for (int i = 0; i < OpenMM::Platform::getNumPlatforms(); i++) {
            OpenMM::Platform& platform = OpenMM::Platform::getPlatform(i);
            if (dynamic_cast<PlatformClass*>(&platform) != nullptr &&
                (platformName.empty() || platform.getName() == platformName))
                platform.registerKernelFactory(KernelClass::Name(), new NemoKernelFactory());
        }
    }

    /** Checks everything that determines the type of the platform's data before using them. */
    OpenMM::KernelImpl* createKernelImpl(std::string name, const OpenMM::Platform& platform,
                                         OpenMM::ContextImpl& context) const override {
        using OpenMM::OpenMMException;
        if (name != KernelClass::Name())
            throw OpenMMException(KernelClass::Owner() + " has no kernel '" + name + "'.");
        if (OpenMM::Platform::getOpenMMVersion() != OPENMM_NEMO_BUILT_FOR)
            throw OpenMMException("openmm_nemo was built for OpenMM " OPENMM_NEMO_BUILT_FOR ", but this is OpenMM " +
                                  OpenMM::Platform::getOpenMMVersion() + ": install openmm_nemo again.");
        if (dynamic_cast<const PlatformClass*>(&platform) == nullptr)
            throw OpenMMException("The platform " + platform.getName() + " was given the " + KernelClass::Owner() +
                                  " of another platform.");
        auto* data = static_cast<typename PlatformClass::PlatformData*>(context.getPlatformData());
        if (&context.getPlatform() != &platform || data == nullptr)
            throw OpenMMException(KernelClass::Owner() + " was given a context that is not one of the platform " +
                                  platform.getName() + ".");
        return new KernelClass(name, platform, *data);
    }
};

} // namespace
} // namespace OpenMMNemo

#endif
