// Energy and forces of a NemoBasisForce on the host: in double precision, function by function, on the Reference
// platform, and in single precision with threads and vector instructions on the CPU platform.
#include "BasisFunctions.h"
#include "BasisGeometry.h"
#include "BasisPairs.h"
#include "Constants.h"
#include "NemoBasisKernel.h"
#include "NemoKernelFactory.h"
#include "openmm/reference/ReferencePlatform.h"
#include <cmath>
#include <memory>

using namespace OpenMM;
using namespace std;

namespace OpenMMNemo {
namespace {

/** What both have in common: everything but the sum over pairs. */
class HostBasisKernel : public CalcNemoBasisForceKernel {
public:
    HostBasisKernel(const string& kernelName, const Platform& itsPlatform, ReferencePlatform::PlatformData& itsData)
        : CalcNemoBasisForceKernel(kernelName, itsPlatform), data(itsData) {
    }
    void initialize(const NemoBasisForce& itsForce) override {
        force = &itsForce;
        geometry.reset(new BasisGeometry(itsForce));
        places = itsForce.places();
        x.resize(itsForce.particles.size());
    }
    double execute(ContextImpl& context, bool includeForces, bool includeEnergy) override;

protected:
    /** Energy of all pairs, kT; adds to gradient and frameGradient. */
    virtual double addPairs() = 0;
    ReferencePlatform::PlatformData& data;
    const NemoBasisForce* force = nullptr;
    unique_ptr<BasisGeometry> geometry;
    vector<int> places;
    vector<Vec3> x, gradient; // Angstrom
    vector<array<Vec3, 3>> frameGradient;
};

double HostBasisKernel::execute(ContextImpl& context, bool includeForces, bool) {
    const vector<int>& particles = force->particles;
    int n = particles.size();
    for (int i = 0; i < n; i++)
        x[i] = (*data.positions)[particles[i]] * ANGSTROM_PER_NM;
    gradient.assign(n, Vec3());
    frameGradient.assign(n, {});
    geometry->setPositions(x);
    double energy = geometry->addChainTerms() + addPairs();
    const double unit = GAS_CONSTANT * MODEL_TEMPERATURE, scale = context.getParameter(NemoBasisForce::Scale());
    if (includeForces) {
        for (int i = 0; i < n; i++)
            geometry->addFrameGradient(i, frameGradient[i]);
        geometry->addGradient(gradient);
        for (int i = 0; i < n; i++)
            (*data.forces)[particles[i]] -= gradient[i] * (unit * scale * ANGSTROM_PER_NM);
    }
    (*data.energyParameterDerivatives)[NemoBasisForce::Scale()] += unit * energy;
    return unit * scale * energy;
}

class ReferenceBasisKernel : public HostBasisKernel {
public:
    using HostBasisKernel::HostBasisKernel;

protected:
    double addPairs() override;

private:
    double addPairFunctions(int i, int j, const Vec3& r, double distance, bool apart);
};

double ReferenceBasisKernel::addPairs() {
    int n = x.size();
    double energy = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            if (abs(places[i] - places[j]) < MIN_SEPARATION)
                continue;
            Vec3 r = x[j] - x[i];
            double squared = r.dot(r);
            bool apart = !(squared <= SHORTEST * SHORTEST);
            double distance = (apart ? sqrt(squared) : SHORTEST);
            if (distance > CUTOFF)
                continue;
            if (!force->pairs.empty())
                energy += addPairFunctions(i, j, r, distance, apart);
            if (force->hasBackbone && i < j && distance < CORE_DIAMETER) {
                double overlap = CORE_DIAMETER - distance;
                energy += 0.5 * CORE_STIFFNESS * overlap * overlap;
                Vec3 g = (apart ? r * (-CORE_STIFFNESS * overlap / distance) : Vec3());
                gradient[j] += g;
                gradient[i] -= g;
            }
        }
    return energy;
}

double ReferenceBasisKernel::addPairFunctions(int i, int j, const Vec3& r, double distance, bool apart) {
    const float* c = &force->pairs[((size_t) i * x.size() + j) * NUM_PAIR_FUNCTIONS];
    double energy = 0, slope = 0;
    auto gaussian = [&](double centre, double width, double& derivative) {
        double z = (distance - centre) / width, value = exp(-z * z);
        derivative = -2 * z / width * value;
        return value;
    };
    double derivative;
    for (int k = 0; k < NUM_RADIAL; k++) {
        energy += c[k] * gaussian(NEAREST + k * RADIAL_WIDTH, RADIAL_WIDTH, derivative);
        slope += c[k] * derivative;
    }
    // The direction is r / sqrt(1 + D^2) in the frame: its length is 1, but vanishes where residues coincide.
    Vec3 values, slopes;
    for (int s = 0; s < NUM_SHELLS; s++) {
        const float* k = c + NUM_RADIAL + 3 * s;
        double shell = gaussian(SHELL_CENTRES[s], SHELL_WIDTHS[s], derivative);
        values += Vec3(k[0], k[1], k[2]) * shell;
        slopes += Vec3(k[0], k[1], k[2]) * derivative;
    }
    const array<Vec3, 3>& frame = geometry->frames[i];
    Vec3 inFrame(frame[0].dot(r), frame[1].dot(r), frame[2].dot(r));
    double fade = 1 / sqrt(1 + distance * distance);
    energy += fade * values.dot(inFrame);
    slope += fade * slopes.dot(inFrame) - distance * fade * fade * fade * values.dot(inFrame);
    Vec3 g = (apart ? r * (slope / distance) : Vec3());
    for (int a = 0; a < 3; a++) {
        g += frame[a] * (fade * values[a]);
        frameGradient[i][a] += r * (0.5 * fade * values[a]);
    }
    gradient[j] += g * 0.5;
    gradient[i] -= g * 0.5;
    return 0.5 * energy;
}

class CpuBasisKernel : public HostBasisKernel {
public:
    using HostBasisKernel::HostBasisKernel;
    void initialize(const NemoBasisForce& itsForce) override {
        HostBasisKernel::initialize(itsForce);
        pairs.reset(new BasisPairs(itsForce));
    }

protected:
    double addPairs() override {
        return pairs->compute(x, geometry->frames, data.threads, gradient, frameGradient);
    }

private:
    unique_ptr<BasisPairs> pairs;
};

} // namespace

void registerHostBasisKernels() {
    NemoKernelFactory<ReferenceBasisKernel, ReferencePlatform>::registerWithPlatforms();
    // The CPU platform is also a ReferencePlatform; its own takes the place of the other.
    NemoKernelFactory<CpuBasisKernel, ReferencePlatform>::registerWithPlatforms("CPU");
}

} // namespace OpenMMNemo
