#include "NemoBasisForce.h"
#include "BasisFunctions.h"
#include "NemoBasisKernel.h"
#include "openmm/Kernel.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/internal/ForceImpl.h"
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

class NemoBasisForceImpl : public ForceImpl {
public:
    explicit NemoBasisForceImpl(const NemoBasisForce& force) : owner(force) {
    }
    void initialize(ContextImpl& context) override;
    const Force& getOwner() const override {
        return owner;
    }
    void updateContextState(ContextImpl&, bool&) override {
    }
    double calcForcesAndEnergy(ContextImpl& context, bool includeForces, bool includeEnergy, int groups) override {
        if ((groups & (1 << owner.getForceGroup())) == 0)
            return 0;
        if (owner.replica >= 0) {
            double chosen = context.getParameter(NemoBasisForce::ChosenReplica());
            if (chosen >= 0 && chosen != owner.replica)
                return 0;
        }
        return kernel.getAs<CalcNemoBasisForceKernel>().execute(context, includeForces, includeEnergy);
    }
    map<string, double> getDefaultParameters() override {
        map<string, double> parameters = {{NemoBasisForce::Scale(), 1.0}};
        if (owner.replica >= 0)
            parameters[NemoBasisForce::ChosenReplica()] = -1;
        return parameters;
    }
    vector<string> getKernelNames() override {
        return {CalcNemoBasisForceKernel::Name()};
    }
    /** The residues are one molecule, also those of a complex: its chains interact without periodic images. */
    vector<pair<int, int>> getBondedParticles() const override;

private:
    void requireSize(const string& name, size_t size, size_t expected) const;
    const NemoBasisForce& owner;
    Kernel kernel;
};

void NemoBasisForceImpl::initialize(ContextImpl& context) {
    size_t n = owner.particles.size();
    set<int> particles(owner.particles.begin(), owner.particles.end());
    if (n == 0 || particles.size() != n)
        throw OpenMMException("NemoBasisForce has " + to_string(particles.size()) + " different particles for " +
                              to_string(n) + " residues.");
    for (int particle : particles)
        if (particle < 0 || particle >= context.getSystem().getNumParticles())
            throw OpenMMException("NemoBasisForce has particle " + to_string(particle) + ", but the system has " +
                                  to_string(context.getSystem().getNumParticles()) + " particles.");
    const vector<int>& lengths = owner.chainLengths;
    if (!lengths.empty() && (*min_element(lengths.begin(), lengths.end()) < 1 ||
                             accumulate(lengths.begin(), lengths.end(), 0LL) != (long long) n))
        throw OpenMMException("NemoBasisForce has " + to_string(lengths.size()) +
                              " chains whose lengths do not add up to its " + to_string(n) + " residues.");
    requireSize("pairs", owner.pairs.size(), n * n * NUM_PAIR_FUNCTIONS);
    requireSize("chain", owner.chain.size(), n * NUM_CHAIN_FUNCTIONS);
    kernel = context.getPlatform().createKernel(CalcNemoBasisForceKernel::Name(), context);
    kernel.getAs<CalcNemoBasisForceKernel>().initialize(owner);
}

void NemoBasisForceImpl::requireSize(const string& name, size_t size, size_t expected) const {
    if (size != 0 && size != expected)
        throw OpenMMException("NemoBasisForce has " + to_string(size) + " coefficients '" + name + "', but " +
                              to_string(owner.particles.size()) + " residues have " + to_string(expected) + ".");
}

vector<pair<int, int>> NemoBasisForceImpl::getBondedParticles() const {
    vector<pair<int, int>> bonds;
    for (size_t i = 1; i < owner.particles.size(); i++)
        bonds.emplace_back(owner.particles[i - 1], owner.particles[i]);
    return bonds;
}

} // namespace

vector<int> NemoBasisForce::places() const {
    vector<int> places;
    int place = 0;
    for (int length : chainLengths.empty() ? vector<int>{(int) particles.size()} : chainLengths) {
        for (int i = 0; i < length; i++)
            places.push_back(place++);
        place += MIN_SEPARATION - 1;
    }
    return places;
}

ForceImpl* NemoBasisForce::createImpl() const {
    return new NemoBasisForceImpl(*this);
}

} // namespace OpenMMNemo
