#include "Properties.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <charconv>
#include <cmath>
#include <istream>
#include <limits>
#include <ostream>
#include <type_traits>
#include <variant>
#include <vector>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

enum class Kind {
    Counter,   // counts what steps do; kept in states and checkpoints
    Parameter, // may be set at any time; also kept there
    Noise,     // the seed in use; kept only in checkpoints
    Seed,      // the seed as it was set; kept only in XML, so that copies draw their own if it is 0
    Schedule,  // may be set at any time; kept only in XML, if its factors are not 1
    Setting    // fixed when the integrator is made; kept only in its XML
};

struct Range {
    double least, most;
    const char* meaning;
};

using Limits = numeric_limits<double>;
constexpr Range POSITIVE = {Limits::denorm_min(), Limits::max(), "positive and finite"};
constexpr Range NOT_NEGATIVE = {0, Limits::max(), "finite and not negative"};
constexpr Range POSITIVE_OR_INFINITE = {Limits::denorm_min(), Limits::infinity(), "positive"};
constexpr Range COUNT = {0, 9007199254740992.0, "not negative"}; // up to 2^53, which a double holds exactly
constexpr Range POSITIVE_COUNT = {1, COUNT.most, "positive"};
constexpr Range FLAG = {0, 1, "0 or 1"};
constexpr Range DETREND = {0, 2, "0, 1 or 2"};
constexpr Range SEED = {0, LARGEST_SEED, "from 0 to 2147483647"};
constexpr Range NOISE_SEED = {1, LARGEST_SEED, "from 1 to 2147483647"};

using Member = variant<double Parameters::*, int Parameters::*, long long Parameters::*, bool Parameters::*,
                       Detrend Parameters::*, double Counters::*, int Counters::*, long long Counters::*>;

struct Property {
    const char* name;    // in Python
    const char* xmlName; // in XML and in states
    Kind kind;
    Member member;
    Range range;
};

/** The order is that in which a checkpoint holds what is kept there. */
constexpr Property PROPERTIES[] = {
    {"steps", "steps", Kind::Counter, &Counters::steps, COUNT},
    {"clipped_steps", "clippedSteps", Kind::Counter, &Counters::clippedSteps, COUNT},
    {"proposed_cartesian", "proposedCartesian", Kind::Counter, &Counters::proposedCartesian, COUNT},
    {"accepted_cartesian", "acceptedCartesian", Kind::Counter, &Counters::acceptedCartesian, COUNT},
    {"proposed_internal", "proposedInternal", Kind::Counter, &Counters::proposedInternal, COUNT},
    {"accepted_internal", "acceptedInternal", Kind::Counter, &Counters::acceptedInternal, COUNT},
    {"largest_displacement", "largestDisplacement", Kind::Counter, &Counters::largestDisplacement, NOT_NEGATIVE},
    {"temperature", "temperature", Kind::Parameter, &Parameters::temperature, POSITIVE},
    {"cartesian_step", "cartesianStep", Kind::Parameter, &Parameters::cartesianStep, NOT_NEGATIVE},
    {"internal_step", "internalStep", Kind::Parameter, &Parameters::internalStep, NOT_NEGATIVE},
    {"max_displacement", "maxDisplacement", Kind::Parameter, &Parameters::maxDisplacement, POSITIVE_OR_INFINITE},
    {"noise_seed", "noiseSeed", Kind::Noise, &Counters::noiseSeed, NOISE_SEED},
    {"seed", "randomSeed", Kind::Seed, &Parameters::seed, SEED},
    {"schedule_steps", "scheduleSteps", Kind::Schedule, &Parameters::scheduleSteps, POSITIVE_COUNT},
    {"schedule_hottest", "scheduleHottest", Kind::Schedule, &Parameters::hottest, POSITIVE},
    {"schedule_coldest", "scheduleColdest", Kind::Schedule, &Parameters::coldest, POSITIVE},
    {"schedule_block", "scheduleBlock", Kind::Schedule, &Parameters::scheduleBlock, POSITIVE_COUNT},
    {"detrend", "detrend", Kind::Setting, &Parameters::detrend, DETREND},
    {"measure_correction", "measureCorrection", Kind::Setting, &Parameters::measureCorrection, FLAG},
    {"metropolis", "metropolis", Kind::Setting, &Parameters::metropolis, FLAG},
};

template <class P, class C, class T>
auto& at(P& parameters, C&, T Parameters::* member) {
    return parameters.*member;
}

template <class P, class C, class T>
auto& at(P&, C& counters, T Counters::* member) {
    return counters.*member;
}

/** Calls a function with a reference to the property, which has the property's own type. */
template <class P, class C, class Function>
void visit(const Property& property, P& parameters, C& counters, Function function) {
    std::visit([&](auto member) { function(at(parameters, counters, member)); }, property.member);
}

string shortest(double value) {
    char buffer[32];
    return string(buffer, to_chars(buffer, buffer + sizeof(buffer), value).ptr);
}

/** Sets a property; errors refer to it by the given name. */
void assign(const Property& property, const string& name, double value, Parameters& parameters, Counters& counters) {
    const Range& range = property.range;
    visit(property, parameters, counters, [&](auto& target) {
        using T = remove_reference_t<decltype(target)>;
        bool inRange = (value >= range.least && value <= range.most); // also false for NaN
        if (!inRange || (!is_same_v<T, double> && value != floor(value)))
            throw OpenMMException(name + " is " + shortest(value) + ": it must be " + range.meaning +
                                  (is_same_v<T, double> ? "." : " and a whole number."));
        target = static_cast<T>(value);
    });
}

const Property& propertyCalled(const string& name) {
    for (const Property& property : PROPERTIES)
        if (name == property.name)
            return property;
    throw OpenMMException("NemoLangevinIntegrator has no property '" + name + "'.");
}

bool isIn(const Property& property, Extent extent, bool hasSchedule = false) {
    switch (property.kind) {
    case Kind::Counter:
    case Kind::Parameter:
        return true;
    case Kind::Noise:
        return extent == Extent::Checkpoint;
    case Kind::Schedule:
        return extent == Extent::All && hasSchedule;
    default:
        return extent == Extent::All;
    }
}

} // namespace

double getProperty(const NemoLangevinIntegrator& integrator, const string& name) {
    double value = 0;
    visit(propertyCalled(name), integrator.parameters, integrator.counters,
          [&](const auto& source) { value = static_cast<double>(source); });
    return value;
}

void setProperty(NemoLangevinIntegrator& integrator, const string& name, double value) {
    const Property& property = propertyCalled(name);
    if (property.kind != Kind::Parameter && property.kind != Kind::Seed && property.kind != Kind::Schedule)
        throw OpenMMException(name + " cannot be set.");
    assign(property, name, value, integrator.parameters, integrator.counters);
    if (property.kind == Kind::Seed)
        integrator.setSeed(integrator.parameters.seed);
}

void writeProperties(const NemoLangevinIntegrator& integrator, Extent extent, SerializationNode& node) {
    bool hasSchedule = (integrator.parameters.hottest != 1 || integrator.parameters.coldest != 1);
    for (const Property& property : PROPERTIES)
        if (isIn(property, extent, hasSchedule))
            visit(property, integrator.parameters, integrator.counters, [&](const auto& source) {
                if constexpr (is_same_v<decltype(source), const double&>)
                    node.setDoubleProperty(property.xmlName, source);
                else
                    node.setLongProperty(property.xmlName, static_cast<long long>(source));
            });
}

void readProperties(NemoLangevinIntegrator& integrator, Extent extent, const SerializationNode& node,
                    const set<string>& otherProperties, const set<string>& elements) {
    set<string> known = otherProperties;
    bool hasSchedule = any_of(begin(PROPERTIES), end(PROPERTIES), [&](const Property& property) {
        return property.kind == Kind::Schedule && node.hasProperty(property.xmlName);
    });
    for (const Property& property : PROPERTIES)
        if (isIn(property, extent, hasSchedule))
            known.insert(property.xmlName);
    requireKnown(node, known, elements);
    Parameters parameters = integrator.parameters;
    Counters counters = integrator.counters;
    for (const Property& property : PROPERTIES)
        if (isIn(property, extent, hasSchedule))
            assign(property, property.xmlName, numberIn(node, property.xmlName), parameters, counters);
    integrator.parameters = parameters;
    // A state does not take back what the integrator has done since: replicas that share it would draw the same noise.
    if (extent != Extent::State || counters.steps > integrator.counters.steps)
        integrator.counters = counters;
    if (extent == Extent::All)
        integrator.setSeed(parameters.seed);
}

void writeCheckpoint(const NemoLangevinIntegrator& integrator, ostream& stream) {
    for (const Property& property : PROPERTIES)
        if (isIn(property, Extent::Checkpoint))
            visit(property, integrator.parameters, integrator.counters,
                  [&](const auto& source) { stream.write(reinterpret_cast<const char*>(&source), sizeof(source)); });
}

void readCheckpoint(NemoLangevinIntegrator& integrator, istream& stream) {
    for (const Property& property : PROPERTIES)
        if (isIn(property, Extent::Checkpoint))
            visit(property, integrator.parameters, integrator.counters,
                  [&](auto& target) { stream.read(reinterpret_cast<char*>(&target), sizeof(target)); });
}

/** How errors refer to a node; the outermost one has no name. */
static string describe(const SerializationNode& node) {
    return (node.getName().empty() ? "A" : "The element " + node.getName() + " of a") +
           string(" NemoLangevinIntegrator");
}

void requireKnown(const SerializationNode& node, const set<string>& properties, const set<string>& elements) {
    const string unknown = "', which this version of openmm_nemo does not know.";
    for (const auto& [name, value] : node.getProperties())
        if (properties.count(name) == 0)
            throw OpenMMException(describe(node) + " has the property '" + name + unknown);
    for (const SerializationNode& child : node.getChildren())
        if (elements.count(child.getName()) == 0)
            throw OpenMMException(describe(node) + " has the element '" + child.getName() + unknown);
}

double numberIn(const SerializationNode& node, const string& name) {
    if (!node.hasProperty(name))
        throw OpenMMException(describe(node) + " lacks the property '" + name + "'.");
    string text = node.getStringProperty(name);
    double value = 0;
    auto [end, error] = from_chars(text.data(), text.data() + text.size(), value);
    if (error != errc() || end != text.data() + text.size())
        throw OpenMMException(describe(node) + " has " + name + "='" + text + "', which is not a number.");
    return value;
}

int intIn(const SerializationNode& node, const string& name) {
    double value = numberIn(node, name);
    if (!(fabs(value) <= numeric_limits<int>::max() && value == floor(value)))
        throw OpenMMException(describe(node) + " has " + name + "='" + node.getStringProperty(name) +
                              "', which is not a whole number or too large.");
    return static_cast<int>(value);
}

} // namespace OpenMMNemo
