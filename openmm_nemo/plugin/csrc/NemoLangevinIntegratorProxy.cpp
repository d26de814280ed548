// What OpenMM keeps of an integrator: XML all of it, states and checkpoints what setters and steps change.
#include "NemoLangevinIntegrator.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"
#include <algorithm>
#include <iostream>
#include <utility>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {

static void checkVersion(const SerializationNode& node) {
    if (node.getIntProperty("version") != 1)
        throw OpenMMException("This NemoLangevinIntegrator was written by another version of openmm_nemo.");
}

static void writeState(const Parameters& p, const Counters& c, SerializationNode& node) {
    node.setIntProperty("version", 1);
    node.setDoubleProperty("temperature", p.temperature);
    node.setDoubleProperty("cartesianStep", p.cartesianStep);
    node.setDoubleProperty("internalStep", p.internalStep);
    node.setDoubleProperty("maxDisplacement", p.maxDisplacement);
    node.setIntProperty("randomSeed", p.seed);
    node.setStringProperty("steps", to_string(c.steps));
    node.setStringProperty("clippedSteps", to_string(c.clippedSteps));
    node.setStringProperty("proposedCartesian", to_string(c.proposedCartesian));
    node.setStringProperty("acceptedCartesian", to_string(c.acceptedCartesian));
    node.setStringProperty("proposedInternal", to_string(c.proposedInternal));
    node.setStringProperty("acceptedInternal", to_string(c.acceptedInternal));
    node.setDoubleProperty("largestDisplacement", c.largestDisplacement);
}

static void readState(const SerializationNode& node, Parameters& p, Counters& c) {
    checkVersion(node);
    p.temperature = node.getDoubleProperty("temperature");
    p.cartesianStep = node.getDoubleProperty("cartesianStep");
    p.internalStep = node.getDoubleProperty("internalStep");
    p.maxDisplacement = node.getDoubleProperty("maxDisplacement");
    p.seed = node.getIntProperty("randomSeed");
    c.steps = stoll(node.getStringProperty("steps"));
    c.clippedSteps = stoll(node.getStringProperty("clippedSteps"));
    c.proposedCartesian = stoll(node.getStringProperty("proposedCartesian"));
    c.acceptedCartesian = stoll(node.getStringProperty("acceptedCartesian"));
    c.proposedInternal = stoll(node.getStringProperty("proposedInternal"));
    c.acceptedInternal = stoll(node.getStringProperty("acceptedInternal"));
    c.largestDisplacement = node.getDoubleProperty("largestDisplacement");
}

void NemoLangevinIntegrator::serializeParameters(SerializationNode& node) const {
    writeState(parameters, counters, node);
}

void NemoLangevinIntegrator::deserializeParameters(const SerializationNode& node) {
    if (!node.hasProperty("clippedSteps"))
        throw OpenMMException("The state is that of another integrator: save and load it without integrator parameters.");
    readState(node, parameters, counters);
}

// Begins what a checkpoint keeps of the integrator.
static const char MARK[9] = "nemo 001";

void NemoLangevinIntegrator::createCheckpoint(ostream& stream) const {
    stream.write(MARK, sizeof(MARK));
    stream.write((const char*) &counters, sizeof(counters));
    for (double value : {parameters.temperature, parameters.cartesianStep, parameters.internalStep, parameters.maxDisplacement})
        stream.write((const char*) &value, sizeof(value));
    stream.write((const char*) &parameters.seed, sizeof(parameters.seed));
}

void NemoLangevinIntegrator::loadCheckpoint(istream& stream) {
    char mark[sizeof(MARK)] = {};
    stream.read(mark, sizeof(mark));
    if (!equal(mark, mark+sizeof(mark), MARK))
        throw OpenMMException("The checkpoint is that of another integrator.");
    stream.read((char*) &counters, sizeof(counters));
    for (double* value : {&parameters.temperature, &parameters.cartesianStep, &parameters.internalStep, &parameters.maxDisplacement})
        stream.read((char*) value, sizeof(*value));
    stream.read((char*) &parameters.seed, sizeof(parameters.seed));
}

class NemoLangevinIntegratorProxy : public SerializationProxy {
public:
    NemoLangevinIntegratorProxy() : SerializationProxy("NemoLangevinIntegrator") {
    }

    void serialize(const void* object, SerializationNode& node) const override {
        const auto& integrator = *static_cast<const NemoLangevinIntegrator*>(reinterpret_cast<const Integrator*>(object));
        const Parameters& p = integrator.parameters;
        writeState(p, integrator.counters, node);
        node.setDoubleProperty("stepSize", integrator.getStepSize());
        node.setDoubleProperty("constraintTolerance", integrator.getConstraintTolerance());
        node.setIntProperty("forceGroups", integrator.getIntegrationForceGroups());
        node.setIntProperty("detrend", (int) p.detrend);
        node.setBoolProperty("measureCorrection", p.measureCorrection);
        node.setBoolProperty("metropolis", p.metropolis);
        SerializationNode& chains = node.createChildNode("Chains");
        for (const vector<int>& chain : p.chains) {
            SerializationNode& child = chains.createChildNode("Chain");
            for (int particle : chain)
                child.createChildNode("Bead").setIntProperty("particle", particle);
        }
        SerializationNode& cartesian = node.createChildNode("CartesianPreconditioner");
        for (double value : p.cartesianPreconditioner)
            cartesian.createChildNode("Particle").setDoubleProperty("c", value);
        SerializationNode& internal = node.createChildNode("InternalPreconditioner");
        for (const Vec3& value : p.internalPreconditioner)
            internal.createChildNode("Particle").setDoubleProperty("b", value[0]).setDoubleProperty("a", value[1])
                    .setDoubleProperty("d", value[2]);
    }

    void* deserialize(const SerializationNode& node) const override {
        Parameters p;
        Counters c;
        readState(node, p, c);
        p.detrend = (Detrend) node.getIntProperty("detrend");
        p.measureCorrection = node.getBoolProperty("measureCorrection");
        p.metropolis = node.getBoolProperty("metropolis");
        for (const SerializationNode& chain : node.getChildNode("Chains").getChildren()) {
            p.chains.emplace_back();
            for (const SerializationNode& bead : chain.getChildren())
                p.chains.back().push_back(bead.getIntProperty("particle"));
        }
        for (const SerializationNode& child : node.getChildNode("CartesianPreconditioner").getChildren())
            p.cartesianPreconditioner.push_back(child.getDoubleProperty("c"));
        for (const SerializationNode& child : node.getChildNode("InternalPreconditioner").getChildren())
            p.internalPreconditioner.push_back(
                    Vec3(child.getDoubleProperty("b"), child.getDoubleProperty("a"), child.getDoubleProperty("d")));
        auto* integrator = new NemoLangevinIntegrator(p);
        integrator->counters = c;
        integrator->setStepSize(node.getDoubleProperty("stepSize"));
        integrator->setConstraintTolerance(node.getDoubleProperty("constraintTolerance", 1e-5));
        integrator->setIntegrationForceGroups(node.getIntProperty("forceGroups"));
        return static_cast<Integrator*>(integrator);
    }
};

static const struct Registration {
    Registration() {
        SerializationProxy::registerProxy(typeid(NemoLangevinIntegrator), new NemoLangevinIntegratorProxy());
    }
} registration;

} // namespace OpenMMNemo
