// The functions through which Python reads and changes an integrator or a force, called through ctypes with the address
// of an openmm.Integrator or openmm.Force. Everything else goes through XML. A function that can fail returns the
// reason, which is valid until the next call, or NULL.
#include "NemoBasisForce.h"
#include "NemoLangevinIntegrator.h"
#include "Properties.h"
#include "openmm/serialization/XmlSerializer.h"
#include <algorithm>
#include <exception>
#include <memory>
#include <sstream>
#include <string>

using namespace OpenMMNemo;

static NemoLangevinIntegrator& integratorAt(void* address) {
    return *static_cast<NemoLangevinIntegrator*>(reinterpret_cast<OpenMM::Integrator*>(address));
}

template <class Action>
static const char* problemOf(Action action) {
    static thread_local std::string problem;
    try {
        action();
        return nullptr;
    }
    catch (const std::exception& error) {
        problem = error.what();
        return problem.c_str();
    }
}

extern "C" {

/** The release of OpenMM that this was compiled for. */
const char* openmm_nemo_built_for() {
    return OPENMM_NEMO_BUILT_FOR;
}

/** Whether the integrator at this address is one of ours. */
int openmm_nemo_owns(void* address) {
    return dynamic_cast<NemoLangevinIntegrator*>(reinterpret_cast<OpenMM::Integrator*>(address)) != nullptr;
}

/** XML of an integrator with all defaults. */
const char* openmm_nemo_default_xml() {
    static const std::string xml = [] {
        std::ostringstream stream;
        std::unique_ptr<OpenMM::Integrator> integrator(new NemoLangevinIntegrator(Parameters()));
        OpenMM::XmlSerializer::serialize(integrator.get(), "Integrator", stream);
        return stream.str();
    }();
    return xml.c_str();
}

const char* openmm_nemo_get(void* address, const char* name, double* value) {
    return problemOf([&] { *value = getProperty(integratorAt(address), name); });
}

const char* openmm_nemo_set(void* address, const char* name, double value) {
    return problemOf([&] { setProperty(integratorAt(address), name, value); });
}

/** Number of beads in all chains; writes the particles, -1 after every chain, if there is room for them. */
int openmm_nemo_chains(void* address, int* out) {
    int count = 0;
    for (const std::vector<int>& chain : integratorAt(address).parameters.chains) {
        for (int particle : chain) {
            if (out != nullptr)
                out[count] = particle;
            count++;
        }
        if (out != nullptr)
            out[count] = -1;
        count++;
    }
    return count;
}

/** Sets the coefficients of a NemoBasisForce: of pairs, or along the chain. */
void openmm_nemo_set_coefficients(void* address, int ofPairs, const float* values, long long size) {
    auto& force = *static_cast<NemoBasisForce*>(reinterpret_cast<OpenMM::Force*>(address));
    (ofPairs ? force.pairs : force.chain).assign(values, values + size);
}

/** Number of replicas; writes the temperature of each if there is room for them. */
int openmm_nemo_temperatures(void* address, double* out) {
    const Parameters& p = integratorAt(address).parameters;
    if (out != nullptr) {
        out[0] = p.temperature;
        std::copy(p.otherTemperatures.begin(), p.otherTemperatures.end(), out + 1);
    }
    return p.numReplicas();
}

/** Sets the temperature of each replica to a number that is known to be positive and finite. */
void openmm_nemo_set_temperatures(void* address, const double* values) {
    Parameters& p = integratorAt(address).parameters;
    p.temperature = values[0];
    std::copy_n(values + 1, p.otherTemperatures.size(), p.otherTemperatures.begin());
}
}
