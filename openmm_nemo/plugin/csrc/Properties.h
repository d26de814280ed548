#ifndef OPENMM_NEMO_PROPERTIES_H_
#define OPENMM_NEMO_PROPERTIES_H_

#include "NemoLangevinIntegrator.h"
#include "openmm/serialization/SerializationNode.h"
#include <iosfwd>
#include <set>
#include <string>

namespace OpenMMNemo {

// The numbers of an integrator by name. One table in Properties.cpp has their names, their limits and where each is
// saved; the functions for Python, XML, states and checkpoints all use it. They throw an OpenMMException that names a
// property that does not exist, is missing or is out of range, and then have changed nothing.

/** The value of a property by its Python name. */
double getProperty(const NemoLangevinIntegrator& integrator, const std::string& name);

/** Sets a property that may change during a run, by its Python name. */
void setProperty(NemoLangevinIntegrator& integrator, const std::string& name, double value);

/**
 * What to write of an integrator: all of it, what may change during a run, or that with the noise.
 *
 * Reading a state takes the counters only if it is ahead of the integrator.
 */
enum class Extent { All, State, Checkpoint };

void writeProperties(const NemoLangevinIntegrator& integrator, Extent extent, OpenMM::SerializationNode& node);

/** Reads what writeProperties() wrote from a node that may hold other properties and elements if they are named. */
void readProperties(NemoLangevinIntegrator& integrator, Extent extent, const OpenMM::SerializationNode& node,
                    const std::set<std::string>& otherProperties, const std::set<std::string>& elements = {});

/** Writes and reads a checkpoint in binary form. */
void writeCheckpoint(const NemoLangevinIntegrator& integrator, std::ostream& stream);
void readCheckpoint(NemoLangevinIntegrator& integrator, std::istream& stream);

/** Throws an OpenMMException if a node has properties or elements other than those named. */
void requireKnown(const OpenMM::SerializationNode& node, const std::set<std::string>& properties,
                  const std::set<std::string>& elements);

/** The property of a node as a number; throws an OpenMMException if it is missing or not a number. */
double numberIn(const OpenMM::SerializationNode& node, const std::string& name);

/** The same for a number that must be an int. */
int intIn(const OpenMM::SerializationNode& node, const std::string& name);

} // namespace OpenMMNemo

#endif
