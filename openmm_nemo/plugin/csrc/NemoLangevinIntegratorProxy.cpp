// How OpenMM saves an integrator: XML holds all of it, states and checkpoints what setters and steps change.
#include "NemoLangevinIntegrator.h"
#include "Properties.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {

static void checkVersion(const SerializationNode& node) {
    if (node.getIntProperty("version") != 1)
        throw OpenMMException("This NemoLangevinIntegrator was written by another version of openmm_nemo.");
}

// XML elements that hold a list, with one element per member.
static const char* const CHAINS = "Chains";
static const char* const CARTESIAN = "CartesianPreconditioner";
static const char* const INTERNAL = "InternalPreconditioner";
static const char* const OTHERS = "OtherReplicas";

/** The members of a list, each of which has a given name, the given properties and elements of a given name. */
static const vector<SerializationNode>& membersOf(const SerializationNode& list, const string& name,
                                                  const set<string>& properties, const set<string>& elements = {}) {
    requireKnown(list, {}, {name});
    for (const SerializationNode& member : list.getChildren())
        requireKnown(member, properties, elements);
    return list.getChildren();
}

/** Writes what replicas after the first have, if there are any: earlier versions read one that has none. */
static void writeReplicas(const Parameters& parameters, SerializationNode& node) {
    if (parameters.otherTemperatures.empty())
        return;
    SerializationNode& others = node.createChildNode(OTHERS);
    for (double temperature : parameters.otherTemperatures)
        others.createChildNode("Replica").setDoubleProperty("temperature", temperature);
}

static vector<double> readReplicas(const SerializationNode& node) {
    vector<double> temperatures;
    for (const SerializationNode& child : node.getChildren())
        if (child.getName() == OTHERS)
            for (const SerializationNode& replica : membersOf(child, "Replica", {"temperature"})) {
                temperatures.push_back(numberIn(replica, "temperature"));
                if (!(temperatures.back() > 0 && isfinite(temperatures.back())))
                    throw OpenMMException("A replica of a NemoLangevinIntegrator has temperature='" +
                                          replica.getStringProperty("temperature") +
                                          "': it must be positive and finite.");
            }
    return temperatures;
}

static void requireReplicas(int found, int expected, const string& kind) {
    if (found != expected)
        throw OpenMMException("The " + kind + " is from an integrator of " + to_string(found) +
                              " replicas, but this one has " + to_string(expected) + ".");
}

void NemoLangevinIntegrator::serializeParameters(SerializationNode& node) const {
    node.setIntProperty("version", 1);
    writeProperties(*this, Extent::State, node);
    writeReplicas(parameters, node);
}

void NemoLangevinIntegrator::deserializeParameters(const SerializationNode& node) {
    if (!node.hasProperty("clippedSteps"))
        throw OpenMMException("The state is from another integrator: save and load it without integrator parameters.");
    checkVersion(node);
    vector<double> temperatures = readReplicas(node);
    requireReplicas(1 + temperatures.size(), parameters.numReplicas(), "state");
    // Version 0.1 wrote the seed, too.
    readProperties(*this, Extent::State, node, {"version", "randomSeed"}, {OTHERS});
    parameters.otherTemperatures = temperatures;
}

// Marks the beginning of the integrator's part of a checkpoint; with replicas, their number and other temperatures
// follow.
static const char MARK[9] = "nemo 001", REPLICAS_MARK[9] = "nemo 002";

void NemoLangevinIntegrator::createCheckpoint(ostream& stream) const {
    const vector<double>& others = parameters.otherTemperatures;
    int number = others.size();
    stream.write(number == 0 ? MARK : REPLICAS_MARK, sizeof(MARK));
    if (number > 0) {
        stream.write(reinterpret_cast<const char*>(&number), sizeof(number));
        stream.write(reinterpret_cast<const char*>(others.data()), number * sizeof(double));
    }
    writeCheckpoint(*this, stream);
}

void NemoLangevinIntegrator::loadCheckpoint(istream& stream) {
    char mark[sizeof(MARK)] = {};
    stream.read(mark, sizeof(mark));
    bool several = equal(mark, mark + sizeof(mark), REPLICAS_MARK);
    if (!several && !equal(mark, mark + sizeof(mark), MARK))
        throw OpenMMException("The checkpoint is from another integrator.");
    int number = 0;
    if (several)
        stream.read(reinterpret_cast<char*>(&number), sizeof(number));
    requireReplicas(1 + number, parameters.numReplicas(), "checkpoint");
    stream.read(reinterpret_cast<char*>(parameters.otherTemperatures.data()), number * sizeof(double));
    readCheckpoint(*this, stream);
}

static double preconditioner(const SerializationNode& node, const string& name) {
    double value = numberIn(node, name);
    if (!(value >= 0 && isfinite(value)))
        throw OpenMMException("A preconditioner of a NemoLangevinIntegrator has " + name + "='" +
                              node.getStringProperty(name) + "': it must be finite and not negative.");
    return value;
}

class NemoLangevinIntegratorProxy : public SerializationProxy {
public:
    NemoLangevinIntegratorProxy() : SerializationProxy("NemoLangevinIntegrator") {
    }

    void serialize(const void* object, SerializationNode& node) const override {
        const auto& integrator =
            *static_cast<const NemoLangevinIntegrator*>(reinterpret_cast<const Integrator*>(object));
        const Parameters& p = integrator.parameters;
        node.setIntProperty("version", 1);
        writeProperties(integrator, Extent::All, node);
        node.setDoubleProperty("stepSize", integrator.getStepSize());
        node.setDoubleProperty("constraintTolerance", integrator.getConstraintTolerance());
        node.setIntProperty("forceGroups", integrator.getIntegrationForceGroups());
        SerializationNode& chains = node.createChildNode(CHAINS);
        for (const vector<int>& chain : p.chains) {
            SerializationNode& child = chains.createChildNode("Chain");
            for (int particle : chain)
                child.createChildNode("Bead").setIntProperty("particle", particle);
        }
        SerializationNode& cartesian = node.createChildNode(CARTESIAN);
        for (double value : p.cartesianPreconditioner)
            cartesian.createChildNode("Particle").setDoubleProperty("c", value);
        SerializationNode& internal = node.createChildNode(INTERNAL);
        for (const Vec3& value : p.internalPreconditioner)
            internal.createChildNode("Particle")
                .setDoubleProperty("b", value[0])
                .setDoubleProperty("a", value[1])
                .setDoubleProperty("d", value[2]);
        writeReplicas(p, node);
    }

    void* deserialize(const SerializationNode& node) const override {
        checkVersion(node);
        Parameters p;
        for (const SerializationNode& chain : membersOf(node.getChildNode(CHAINS), "Chain", {}, {"Bead"})) {
            p.chains.emplace_back();
            for (const SerializationNode& bead : membersOf(chain, "Bead", {"particle"}))
                p.chains.back().push_back(intIn(bead, "particle"));
        }
        for (const SerializationNode& particle : membersOf(node.getChildNode(CARTESIAN), "Particle", {"c"}))
            p.cartesianPreconditioner.push_back(preconditioner(particle, "c"));
        for (const SerializationNode& particle : membersOf(node.getChildNode(INTERNAL), "Particle", {"b", "a", "d"}))
            p.internalPreconditioner.push_back(
                Vec3(preconditioner(particle, "b"), preconditioner(particle, "a"), preconditioner(particle, "d")));
        p.otherTemperatures = readReplicas(node);
        auto integrator = make_unique<NemoLangevinIntegrator>(p);
        readProperties(*integrator, Extent::All, node,
                       {"type", "version", "stepSize", "constraintTolerance", "forceGroups"},
                       {CHAINS, CARTESIAN, INTERNAL, OTHERS});
        integrator->setStepSize(numberIn(node, "stepSize"));
        integrator->setConstraintTolerance(numberIn(node, "constraintTolerance"));
        integrator->setIntegrationForceGroups(intIn(node, "forceGroups"));
        return static_cast<Integrator*>(integrator.release());
    }
};

static const struct Registration {
    Registration() {
        SerializationProxy::registerProxy(typeid(NemoLangevinIntegrator), new NemoLangevinIntegratorProxy());
    }
} registration;

} // namespace OpenMMNemo
