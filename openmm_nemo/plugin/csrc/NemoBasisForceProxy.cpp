// How OpenMM saves a NemoBasisForce: numbers as properties, coefficients as little-endian floats in base64.
#include "NemoBasisForce.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"
#include <cstdint>
#include <cstring>
#include <memory>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

string encoded(const vector<float>& values) {
    vector<uint8_t> bytes;
    bytes.reserve(4 * values.size());
    for (float value : values) {
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        for (int shift = 0; shift < 32; shift += 8)
            bytes.push_back(bits >> shift);
    }
    string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        size_t count = min<size_t>(3, bytes.size() - i);
        uint32_t word = bytes[i] << 16;
        if (count > 1)
            word |= bytes[i + 1] << 8;
        if (count > 2)
            word |= bytes[i + 2];
        for (size_t k = 0; k < 4; k++)
            text += (k <= count ? DIGITS[word >> (18 - 6 * k) & 63] : '=');
    }
    return text;
}

vector<float> decoded(const SerializationNode& node, const string& name) {
    const string& text = node.getStringProperty(name);
    int8_t digitOf[256];
    memset(digitOf, -1, sizeof(digitOf));
    for (int k = 0; k < 64; k++)
        digitOf[(uint8_t) DIGITS[k]] = k;
    size_t end = text.find_last_not_of('=') + 1, bits = 0;
    vector<uint8_t> bytes;
    bytes.reserve(3 * text.size() / 4);
    uint32_t word = 0;
    bool good = (text.size() % 4 == 0 && text.size() - end <= 2);
    for (size_t i = 0; i < end; i++) {
        int digit = digitOf[(uint8_t) text[i]];
        good &= (digit >= 0);
        word = word << 6 | (digit & 63);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes.push_back(word >> bits);
        }
    }
    if (!good || bytes.size() % 4 != 0)
        throw OpenMMException("A NemoBasisForce has damaged coefficients '" + name + "'.");
    vector<float> values(bytes.size() / 4);
    for (size_t i = 0; i < values.size(); i++) {
        uint32_t value = 0;
        for (int k = 3; k >= 0; k--)
            value = value << 8 | bytes[4 * i + k];
        memcpy(&values[i], &value, sizeof(value));
    }
    return values;
}

class NemoBasisForceProxy : public SerializationProxy {
public:
    NemoBasisForceProxy() : SerializationProxy("NemoBasisForce") {
    }

    void serialize(const void* object, SerializationNode& node) const override {
        const auto& force = *static_cast<const NemoBasisForce*>(reinterpret_cast<const Force*>(object));
        // Earlier releases would read a complex as one chain.
        node.setIntProperty("version", force.chainLengths.empty() ? 1 : 2);
        node.setIntProperty("forceGroup", force.getForceGroup());
        node.setStringProperty("name", force.getName());
        node.setBoolProperty("backbone", force.hasBackbone);
        if (force.replica >= 0)
            node.setIntProperty("replica", force.replica);
        node.setStringProperty("pairs", encoded(force.pairs));
        node.setStringProperty("chain", encoded(force.chain));
        SerializationNode& particles = node.createChildNode("Particles");
        for (int particle : force.particles)
            particles.createChildNode("Particle").setIntProperty("index", particle);
        if (force.chainLengths.empty())
            return;
        SerializationNode& chains = node.createChildNode("Chains");
        for (int length : force.chainLengths)
            chains.createChildNode("Chain").setIntProperty("length", length);
    }

    void* deserialize(const SerializationNode& node) const override {
        int version = node.getIntProperty("version");
        if (version < 1 || version > 2)
            throw OpenMMException("This NemoBasisForce was written by another version of openmm_nemo.");
        auto force = make_unique<NemoBasisForce>();
        force->setForceGroup(node.getIntProperty("forceGroup"));
        force->setName(node.getStringProperty("name"));
        force->hasBackbone = node.getBoolProperty("backbone");
        force->replica = node.getIntProperty("replica", -1);
        force->pairs = decoded(node, "pairs");
        force->chain = decoded(node, "chain");
        for (const SerializationNode& particle : node.getChildNode("Particles").getChildren())
            force->particles.push_back(particle.getIntProperty("index"));
        if (version == 2)
            for (const SerializationNode& chain : node.getChildNode("Chains").getChildren())
                force->chainLengths.push_back(chain.getIntProperty("length"));
        return static_cast<Force*>(force.release());
    }
};

const struct Registration {
    Registration() {
        SerializationProxy::registerProxy(typeid(NemoBasisForce), new NemoBasisForceProxy());
    }
} registration;

} // namespace
} // namespace OpenMMNemo
