// What the Python class reads and changes, called through ctypes with the address of an openmm.Integrator. XML does the rest.
#include "NemoLangevinIntegrator.h"
#include <cmath>
#include <string>

using namespace OpenMMNemo;

static NemoLangevinIntegrator& integratorAt(void* address) {
    return *static_cast<NemoLangevinIntegrator*>(reinterpret_cast<OpenMM::Integrator*>(address));
}

static double* changeable(Parameters& p, const std::string& name) {
    if (name == "temperature")
        return &p.temperature;
    if (name == "cartesian_step")
        return &p.cartesianStep;
    if (name == "internal_step")
        return &p.internalStep;
    if (name == "max_displacement")
        return &p.maxDisplacement;
    return nullptr;
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

double openmm_nemo_get(void* address, const char* cname) {
    NemoLangevinIntegrator& integrator = integratorAt(address);
    Parameters& p = integrator.parameters;
    const Counters& c = integrator.counters;
    std::string name(cname);
    if (double* value = changeable(p, name))
        return *value;
    if (name == "seed")
        return p.seed;
    if (name == "detrend")
        return (int) p.detrend;
    if (name == "measure_correction")
        return p.measureCorrection;
    if (name == "metropolis")
        return p.metropolis;
    if (name == "steps")
        return (double) c.steps;
    if (name == "clipped_steps")
        return (double) c.clippedSteps;
    if (name == "proposed_cartesian")
        return (double) c.proposedCartesian;
    if (name == "accepted_cartesian")
        return (double) c.acceptedCartesian;
    if (name == "proposed_internal")
        return (double) c.proposedInternal;
    if (name == "accepted_internal")
        return (double) c.acceptedInternal;
    if (name == "largest_displacement")
        return c.largestDisplacement;
    return NAN;
}

void openmm_nemo_set(void* address, const char* cname, double value) {
    Parameters& p = integratorAt(address).parameters;
    std::string name(cname);
    if (double* target = changeable(p, name))
        *target = value;
    else if (name == "seed")
        p.seed = (int) value;
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

}
