// The step for GPUs, in OpenMM's dialect that OpenCL, CUDA and HIP compile alike. One work group moves one chain: every
// thread has a run of consecutive beads, and sums along the chain are scans over the threads. Lengths in Angstrom, seen from
// the first bead of the chain; energies in kT. The formulas are those of ChainMath.cpp.
namespace OpenMMNemo {

extern const char* const commonNemoSource = R"KERNEL(

typedef struct { mixed x, y, z; } V3;

DEVICE inline V3 v3(mixed x, mixed y, mixed z) {
    V3 v;
    v.x = x;
    v.y = y;
    v.z = z;
    return v;
}

DEVICE inline V3 zero3() {
    return v3(0, 0, 0);
}

DEVICE inline V3 add(V3 a, V3 b) {
    return v3(a.x+b.x, a.y+b.y, a.z+b.z);
}

DEVICE inline V3 sub(V3 a, V3 b) {
    return v3(a.x-b.x, a.y-b.y, a.z-b.z);
}

DEVICE inline V3 scaled(V3 a, mixed s) {
    return v3(a.x*s, a.y*s, a.z*s);
}

DEVICE inline mixed dot3(V3 a, V3 b) {
    return a.x*b.x+a.y*b.y+a.z*b.z;
}

DEVICE inline V3 cross3(V3 a, V3 b) {
    return v3(a.y*b.z-a.z*b.y, a.z*b.x-a.x*b.z, a.x*b.y-a.y*b.x);
}

DEVICE inline V3 get3(GLOBAL const mixed4* RESTRICT array, int i) {
    mixed4 v = array[i];
    return v3(v.x, v.y, v.z);
}

DEVICE inline void put3(GLOBAL mixed4* RESTRICT array, int i, V3 v) {
    array[i] = make_mixed4(v.x, v.y, v.z, 0);
}

/** Length, with the floor that counts as zero. */
DEVICE inline mixed lengthOf(V3 v) {
    return sqrt(max(dot3(v, v), (mixed) 1e-12f));
}

/** Standard normal numbers: Philox 4x32-10 and Box-Muller. */
DEVICE V3 langevinNoise(unsigned int seed, unsigned int step, unsigned int chain, unsigned int bead, unsigned int stream) {
    unsigned int c0 = step, c1 = chain, c2 = bead, c3 = stream, k0 = seed, k1 = 0;
    for (int round = 0; round < 10; round++) {
        mm_ulong p0 = ((mm_ulong) 0xD2511F53u)*c0, p1 = ((mm_ulong) 0xCD9E8D57u)*c2;
        c0 = ((unsigned int) (p1 >> 32))^c1^k0;
        c1 = (unsigned int) p1;
        c2 = ((unsigned int) (p0 >> 32))^c3^k1;
        c3 = (unsigned int) p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const mixed cell = ((mixed) 1)/((mixed) 4294967296.0f), centre = 0.5f;
    mixed radius = sqrt(-2*log((c0+centre)*cell)), turns = 2*cell*(c1+centre);
    mixed other = sqrt(-2*log((c2+centre)*cell));
    return v3(radius*cospi(turns), radius*sinpi(turns), other*cospi(2*cell*(c3+centre)));
}

/** Sum, over all threads, of n numbers of each of them. */
DEVICE void groupSum(mixed* v, int n, LOCAL_ARG mixed* buffer) {
    for (int k = 0; k < n; k++)
        buffer[k*GROUP_SIZE+LOCAL_ID] = v[k];
    SYNC_THREADS;
    for (int count = GROUP_SIZE/2; count > 0; count /= 2) {
        if (LOCAL_ID < count)
            for (int k = 0; k < n; k++)
                buffer[k*GROUP_SIZE+LOCAL_ID] += buffer[k*GROUP_SIZE+LOCAL_ID+count];
        SYNC_THREADS;
    }
    for (int k = 0; k < n; k++)
        v[k] = buffer[k*GROUP_SIZE];
    SYNC_THREADS;
}

DEVICE mixed groupMax(mixed v, LOCAL_ARG mixed* buffer) {
    buffer[LOCAL_ID] = v;
    SYNC_THREADS;
    for (int count = GROUP_SIZE/2; count > 0; count /= 2) {
        if (LOCAL_ID < count)
            buffer[LOCAL_ID] = max(buffer[LOCAL_ID], buffer[LOCAL_ID+count]);
        SYNC_THREADS;
    }
    v = buffer[0];
    SYNC_THREADS;
    return v;
}

/**
 * Nested sums along the chain over the threads before this one (after it, if reversed): *a becomes the sum of all a, and
 * *b that of all b and of d x (sum of the a before it).
 */
DEVICE void nestedScan(V3* a, V3* b, V3 d, int reversed, LOCAL_ARG mixed* buffer) {
    const int rank = (reversed ? GROUP_SIZE-1-(int) LOCAL_ID : (int) LOCAL_ID);
    V3 sa = *a, sb = *b, sd = d;
    for (int distance = 1; distance <= GROUP_SIZE; distance *= 2) {
        buffer[rank] = sa.x;
        buffer[GROUP_SIZE+rank] = sa.y;
        buffer[2*GROUP_SIZE+rank] = sa.z;
        buffer[3*GROUP_SIZE+rank] = sb.x;
        buffer[4*GROUP_SIZE+rank] = sb.y;
        buffer[5*GROUP_SIZE+rank] = sb.z;
        buffer[6*GROUP_SIZE+rank] = sd.x;
        buffer[7*GROUP_SIZE+rank] = sd.y;
        buffer[8*GROUP_SIZE+rank] = sd.z;
        SYNC_THREADS;
        // In the last round, all that is before this thread is read.
        const int other = (distance == GROUP_SIZE ? rank-1 : rank-distance);
        V3 oa = zero3(), ob = zero3(), od = zero3();
        if (other >= 0) {
            oa = v3(buffer[other], buffer[GROUP_SIZE+other], buffer[2*GROUP_SIZE+other]);
            ob = v3(buffer[3*GROUP_SIZE+other], buffer[4*GROUP_SIZE+other], buffer[5*GROUP_SIZE+other]);
            od = v3(buffer[6*GROUP_SIZE+other], buffer[7*GROUP_SIZE+other], buffer[8*GROUP_SIZE+other]);
        }
        SYNC_THREADS;
        if (distance == GROUP_SIZE) {
            *a = oa;
            *b = ob;
        }
        else {
            sb = add(sb, add(ob, cross3(sd, oa)));
            sa = add(sa, oa);
            sd = add(sd, od);
        }
    }
}

/**
 * What the internal coordinates of row j do at y: the points from j on move by stretch and turn about bend, per unit of b~
 * and a~, and turn about direction[j-1], per radian of d. First of all bonds, then of all angles; each returns the slope of
 * log|det dx/dz|.
 */
DEVICE mixed findBond(GLOBAL const mixed4* RESTRICT y, int j, GLOBAL mixed4* RESTRICT stretch, GLOBAL mixed4* RESTRICT direction) {
    if (j < 1)
        return 0;
    V3 bond = sub(get3(y, j), get3(y, j-1));
    const mixed length = lengthOf(bond), slope = 1-exp(-length);
    V3 unit = scaled(bond, 1/length);
    put3(direction, j, unit);
    put3(stretch, j, scaled(unit, slope));
    return 2*slope/length+1-slope;
}

DEVICE mixed findAngle(GLOBAL const mixed4* RESTRICT direction, int j, GLOBAL mixed4* RESTRICT bend) {
    if (j < 2)
        return 0;
    V3 previous = get3(direction, j-1), here = get3(direction, j);
    V3 normal = cross3(previous, here);
    const mixed sine = lengthOf(normal), cosine = -dot3(previous, here);
    // As exact as atan2 and faster.
    mixed angle = acos(cosine);
    if (fabs(cosine) > (mixed) 0.9f)
        angle = (cosine > 0 ? asin(sine) : PI-asin(sine));
    const mixed slope = angle*(PI-angle)/PI;
    put3(bend, j, scaled(normal, -slope/sine));
    return slope*cosine/sine+1-2*angle/PI;
}

/** d = J dz for the beads first ... last-1 of this thread. */
DEVICE void displacement(GLOBAL const mixed4* RESTRICT y, GLOBAL const mixed4* RESTRICT stretch, GLOBAL const mixed4* RESTRICT bend,
        GLOBAL const mixed4* RESTRICT direction, GLOBAL const mixed4* RESTRICT dz, GLOBAL mixed4* RESTRICT d, int first, int last,
        LOCAL_ARG mixed* buffer) {
    // First of its own beads alone, then, in the second round, of those before, too.
    V3 rotation = zero3(), sum = zero3();
    for (int round = 0; round < 2; round++) {
        if (first == 0 && last > 0)
            put3(d, 0, zero3());
        for (int j = max(first, 1); j < last; j++) {
            V3 change = get3(dz, j);
            if (j > 1)
                rotation = add(rotation, scaled(get3(bend, j), change.y));
            if (j > 2)
                rotation = add(rotation, scaled(get3(direction, j-1), change.z));
            V3 bond = sub(get3(y, j), get3(y, j-1));
            sum = add(sum, add(scaled(get3(stretch, j), change.x), cross3(rotation, bond)));
            put3(d, j, sum);
        }
        if (round == 0) {
            V3 span = (first < last ? sub(get3(y, last-1), get3(y, max(first-1, 0))) : zero3());
            // The scan adds d x a where the sum of displacements has a x d.
            sum = scaled(sum, -1);
            nestedScan(&rotation, &sum, span, 0, buffer);
            sum = scaled(sum, -1);
        }
    }
}

/** Rotation about the centre that has an angular momentum, from the second moments of the points. */
DEVICE V3 rotationOf(V3 diagonalMoments, V3 mixedMoments, V3 momentum) {
    const mixed trace = diagonalMoments.x+diagonalMoments.y+diagonalMoments.z;
    // The ridge is at rounding level and keeps the tensor of collinear points invertible.
    const mixed ridge = RIDGE*trace+((mixed) 1e-15f), diagonal = trace+ridge;
    const mixed xy = mixedMoments.x, xz = mixedMoments.y, yz = mixedMoments.z;
    const mixed a = diagonal-diagonalMoments.x, ba = -xy/a, ca = -xz/a;
    const mixed b = max(diagonal-diagonalMoments.y+ba*xy, ridge), bc = ba*xz-yz, cb = bc/b;
    const mixed c = max(diagonal-diagonalMoments.z+ca*xz-cb*bc, ridge);
    const mixed second = momentum.y-ba*momentum.x, third = momentum.z-ca*momentum.x-cb*second;
    V3 rotation;
    rotation.z = third/c;
    rotation.y = second/b-cb*rotation.z;
    rotation.x = momentum.x/a-ba*rotation.y-ca*rotation.z;
    return rotation;
}

/** Centre, drift and moments of n points x that are displaced by d. */
typedef struct {
    V3 centre, drift, diagonalMoments, mixedMoments, momentum;
} Motion;

DEVICE Motion motionOf(GLOBAL const mixed4* RESTRICT x, GLOBAL const mixed4* RESTRICT d, int n, LOCAL_ARG mixed* buffer) {
    mixed v[9];
    for (int k = 0; k < 9; k++)
        v[k] = 0;
    for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
        V3 p = get3(x, i), q = get3(d, i);
        v[0] += p.x;
        v[1] += p.y;
        v[2] += p.z;
        v[3] += q.x;
        v[4] += q.y;
        v[5] += q.z;
    }
    groupSum(v, 6, buffer);
    Motion motion;
    motion.centre = scaled(v3(v[0], v[1], v[2]), 1/(mixed) n);
    motion.drift = scaled(v3(v[3], v[4], v[5]), 1/(mixed) n);
    for (int k = 0; k < 9; k++)
        v[k] = 0;
    for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
        V3 arm = sub(get3(x, i), motion.centre);
        V3 momentum = cross3(arm, sub(get3(d, i), motion.drift));
        v[0] += arm.x*arm.x;
        v[1] += arm.y*arm.y;
        v[2] += arm.z*arm.z;
        v[3] += arm.x*arm.y;
        v[4] += arm.x*arm.z;
        v[5] += arm.y*arm.z;
        v[6] += momentum.x;
        v[7] += momentum.y;
        v[8] += momentum.z;
    }
    groupSum(v, 9, buffer);
    motion.diagonalMoments = v3(v[0], v[1], v[2]);
    motion.mixedMoments = v3(v[3], v[4], v[5]);
    motion.momentum = v3(v[6], v[7], v[8]);
    return motion;
}

/** A displacement without a rigid-body motion; keepShape: by moving back the displaced point as a rigid body. */
DEVICE V3 withoutMotion(V3 x, V3 d, V3 centre, V3 drift, V3 rotation, int keepShape) {
    V3 arm = sub(x, centre), left = sub(d, drift);
    if (!keepShape)
        return sub(left, cross3(rotation, arm));
    V3 v = add(arm, left), back = scaled(rotation, -1);
    mixed angle = sqrt(dot3(back, back)), s = 1, ofHalf = 1;
    if (angle > (mixed) 1e-8f) {
        s = sin(angle)/angle;
        ofHalf = sin(angle/2)/(angle/2);
    }
    V3 once = cross3(back, v);
    return add(left, add(scaled(once, s), scaled(cross3(back, once), ofHalf*ofHalf/2)));
}

/** Position of the particle in a slot, nm. */
DEVICE inline V3 positionAt(GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, int slot) {
    real4 p = posq[slot];
#ifdef USE_MIXED_PRECISION
    real4 c = posqCorrection[slot];
    return v3(p.x+(mixed) c.x, p.y+(mixed) c.y, p.z+(mixed) c.z);
#else
    return v3(p.x, p.y, p.z);
#endif
}

/** Force on the particle in a slot, kJ/mol/nm. */
DEVICE inline V3 forceAt(GLOBAL const mm_long* RESTRICT force, int slot) {
    const mixed unit = ((mixed) 1)/((mixed) 4294967296.0f);
    return v3(unit*force[slot], unit*force[slot+PADDED_NUM_ATOMS], unit*force[slot+2*PADDED_NUM_ATOMS]);
}

/**
 * Forces are fixed-point numbers: what was not finite is now at or near the end of their range. Two such forces on one
 * particle may add up to zero, which nobody can see.
 */
DEVICE inline int isLost(V3 f) {
    const mixed limit = 2147480000.0f;
    return !(fabs(f.x) < limit && fabs(f.y) < limit && fabs(f.z) < limit);
}

/**
 * The displacement of every particle that moves, from the roots of the step sizes and of the preconditioners. The segments from
 * NUM_CHAINS on are portions of the particles in no chain, whose noise is that of one more chain in which their indices are
 * the beads.
 *
 * summary: for every segment, whether something is not finite, whether it was clipped, its number of beads, and its Motion, nm.
 */
KERNEL void nemoDisplace(unsigned int seed, unsigned int step, mixed inverseKT, mixed cartesianRoot, mixed internalRoot, mixed limit,
        GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const mm_long* RESTRICT force,
        GLOBAL const int* RESTRICT slots, GLOBAL const int* RESTRICT particles, GLOBAL const int* RESTRICT chainStart,
        GLOBAL const mixed4* RESTRICT internalRoots, GLOBAL const mixed* RESTRICT cartesianRoots,
        GLOBAL mixed4* RESTRICT allX, GLOBAL mixed4* RESTRICT allY, GLOBAL mixed4* RESTRICT allG, GLOBAL mixed4* RESTRICT allDz,
        GLOBAL mixed4* RESTRICT allD, GLOBAL mixed4* RESTRICT allStage, GLOBAL mixed4* RESTRICT allStretch,
        GLOBAL mixed4* RESTRICT allBend, GLOBAL mixed4* RESTRICT allDirection, GLOBAL mixed* RESTRICT summary) {
    LOCAL mixed buffer[9*GROUP_SIZE];
    const mixed angstrom = 10;
    for (int chain = GROUP_ID; chain < NUM_SEGMENTS; chain += NUM_GROUPS) {
        const int start = chainStart[chain], n = chainStart[chain+1]-start, isChain = (chain < NUM_CHAINS);
        GLOBAL mixed4* x = allX+start;
        GLOBAL mixed4* y = allY+start;
        GLOBAL mixed4* g = allG+start;
        GLOBAL mixed4* dz = allDz+start;
        GLOBAL mixed4* d = allD+start;
        GLOBAL mixed4* stage = allStage+start;
        GLOBAL mixed4* stretch = allStretch+start;
        GLOBAL mixed4* bend = allBend+start;
        GLOBAL mixed4* direction = allDirection+start;
        V3 origin = zero3();
        if (n > 0)
            origin = positionAt(posq, posqCorrection, slots[particles[start]]);
        int lost = 0;

        // The Cartesian step.
        for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
            int particle = particles[start+i], slot = slots[particle];
            V3 position = scaled(sub(positionAt(posq, posqCorrection, slot), origin), angstrom);
            V3 f = forceAt(force, slot);
            lost |= isLost(f);
            V3 gradient = scaled(f, -inverseKT/angstrom);
            mixed deviation = cartesianRoot*cartesianRoots[start+i];
            V3 noise = langevinNoise(seed, step, isChain ? chain : NUM_CHAINS, isChain ? i : particle, 0);
            V3 move = sub(scaled(noise, deviation), scaled(gradient, deviation*deviation/2));
            put3(x, i, position);
            put3(g, i, gradient);
            put3(d, i, move);
            put3(y, i, add(position, move));
        }
        SYNC_THREADS;

        // The internal step from there. Sums along the chain: every thread has the beads first ... last-1.
        mixed clipped = 0;
        if (isChain) {
            const int run = (n+GROUP_SIZE-1)/GROUP_SIZE;
            const int first = min((int) LOCAL_ID*run, n), last = min(first+run, n);
            for (int j = LOCAL_ID; j < n; j += GROUP_SIZE) {
                mixed volumeSlope = findBond(y, j, stretch, direction);
                V3 deviation = scaled(get3(internalRoots, start+j), internalRoot);
                V3 noise = langevinNoise(seed, step, chain, j, 1);
                V3 change = v3(deviation.x*noise.x, deviation.y*noise.y, deviation.z*noise.z);
#ifdef MEASURE_CORRECTION
                change.x += deviation.x*deviation.x*volumeSlope/2;
#endif
                put3(dz, j, change);
            }
            SYNC_THREADS;
            for (int j = LOCAL_ID; j < n; j += GROUP_SIZE) {
                mixed volumeSlope = findAngle(direction, j, bend);
#ifdef MEASURE_CORRECTION
                mixed deviation = get3(internalRoots, start+j).y*internalRoot;
                V3 change = get3(dz, j);
                change.y += deviation*deviation*volumeSlope/2;
                put3(dz, j, change);
#endif
            }
            SYNC_THREADS;
            V3 downstream = zero3(), torque = zero3();
            for (int j = last-1; j >= max(first, 1); j--) {
                downstream = add(downstream, get3(g, j));
                torque = add(torque, cross3(sub(get3(y, j), get3(y, j-1)), downstream));
            }
            V3 span = (first < last ? sub(get3(y, last-1), get3(y, max(first-1, 0))) : zero3());
            nestedScan(&downstream, &torque, span, 1, buffer);
            for (int j = last-1; j >= max(first, 1); j--) {
                downstream = add(downstream, get3(g, j));
                torque = add(torque, cross3(sub(get3(y, j), get3(y, j-1)), downstream));
                V3 deviation = scaled(get3(internalRoots, start+j), internalRoot);
                V3 change = get3(dz, j);
                change.x -= deviation.x*deviation.x/2*dot3(get3(stretch, j), downstream);
                if (j > 1)
                    change.y -= deviation.y*deviation.y/2*dot3(get3(bend, j), torque);
                if (j > 2)
                    change.z -= deviation.z*deviation.z/2*dot3(get3(direction, j-1), torque);
                put3(dz, j, change);
            }
            displacement(y, stretch, bend, direction, dz, stage, first, last, buffer);
            SYNC_THREADS;
            mixed scale = 1;
            if (limit > 0) {
                Motion motion = motionOf(y, stage, n, buffer);
                V3 rotation = rotationOf(motion.diagonalMoments, motion.mixedMoments, motion.momentum);
                mixed fastest = 0;
                for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
                    V3 v = withoutMotion(get3(y, i), get3(stage, i), motion.centre, motion.drift, rotation, 0);
                    fastest = max(fastest, dot3(v, v));
                }
                fastest = sqrt(groupMax(fastest, buffer));
                if (fastest > limit) {
                    clipped = 1;
                    scale = limit/fastest;
                }
            }
            for (int i = first; i < last; i++) {
                V3 move = scaled(get3(stage, i), scale);
                put3(dz, i, scaled(get3(dz, i), scale));
                put3(y, i, add(get3(y, i), move));
                put3(d, i, add(get3(d, i), scaled(move, 0.5f)));
            }
            SYNC_THREADS;
            for (int j = LOCAL_ID; j < n; j += GROUP_SIZE)
                findBond(y, j, stretch, direction);
            SYNC_THREADS;
            for (int j = LOCAL_ID; j < n; j += GROUP_SIZE)
                findAngle(direction, j, bend);
            SYNC_THREADS;
            displacement(y, stretch, bend, direction, dz, stage, first, last, buffer);
            for (int i = first; i < last; i++)
                put3(d, i, add(get3(d, i), scaled(get3(stage, i), 0.5f)));
            SYNC_THREADS;
        }

        // What a chain does as a whole.
        Motion motion = motionOf(x, d, max(n, 1), buffer);
#ifdef DETREND_CHAINS
        if (isChain) {
            V3 rotation = rotationOf(motion.diagonalMoments, motion.mixedMoments, motion.momentum);
            for (int i = LOCAL_ID; i < n; i += GROUP_SIZE)
                put3(d, i, withoutMotion(get3(x, i), get3(d, i), motion.centre, motion.drift, rotation, KEEP_SHAPE));
        }
#endif
        for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
            V3 move = get3(d, i);
            lost |= !(fabs(move.x+move.y+move.z) < 1e10f);
        }
        mixed bad = groupMax(lost, buffer);
        if (LOCAL_ID == 0) {
            GLOBAL mixed* out = summary+chain*SUMMARY_SIZE;
            V3 centre = add(scaled(motion.centre, 1/angstrom), origin);
            out[0] = bad;
            out[1] = clipped;
            out[2] = n;
            out[3] = centre.x;
            out[4] = centre.y;
            out[5] = centre.z;
            out[6] = motion.drift.x/angstrom;
            out[7] = motion.drift.y/angstrom;
            out[8] = motion.drift.z/angstrom;
            const mixed square = angstrom*angstrom;
            out[9] = motion.diagonalMoments.x/square;
            out[10] = motion.diagonalMoments.y/square;
            out[11] = motion.diagonalMoments.z/square;
            out[12] = motion.mixedMoments.x/square;
            out[13] = motion.mixedMoments.y/square;
            out[14] = motion.mixedMoments.z/square;
            out[15] = motion.momentum.x/square;
            out[16] = motion.momentum.y/square;
            out[17] = motion.momentum.z/square;
        }
        SYNC_THREADS;
    }
}

/**
 * Moves the particles by their displacements, unless one of them, in this or an earlier step, is not finite.
 *
 * status: since it was last read, the number of clipped steps; 1 + number of the step that failed, or 0; then, for every group,
 * the largest displacement of a bead of a chain, nm.
 */
KERNEL void nemoMove(int step, GLOBAL real4* RESTRICT posq, GLOBAL real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
        GLOBAL const int* RESTRICT particles, GLOBAL const mixed4* RESTRICT allD, GLOBAL const mixed* RESTRICT summary,
        GLOBAL float* RESTRICT status) {
    LOCAL mixed buffer[9*GROUP_SIZE];
    const mixed angstrom = 10;
    mixed bad = status[1], clipped = 0;
    for (int chain = LOCAL_ID; chain < NUM_SEGMENTS; chain += GROUP_SIZE) {
        bad = max(bad, summary[chain*SUMMARY_SIZE]);
        clipped = max(clipped, summary[chain*SUMMARY_SIZE+1]);
    }
    bad = groupMax(bad, buffer);
    clipped = groupMax(clipped, buffer);
    if (GROUP_ID == 0 && LOCAL_ID == 0) {
        if (bad == 0)
            status[0] += (clipped > 0);
        else if (status[1] == 0)
            status[1] = step+1;
    }
    if (bad == 0) {
#ifdef DETREND_SYSTEM
        // Centre and drift of the system, and then its moments about them, from those of the chains.
        mixed v[9];
        for (int k = 0; k < 9; k++)
            v[k] = 0;
        for (int chain = LOCAL_ID; chain < NUM_SEGMENTS; chain += GROUP_SIZE) {
            GLOBAL const mixed* in = summary+chain*SUMMARY_SIZE;
            v[0] += in[2];
            for (int k = 0; k < 6; k++)
                v[k+1] += in[2]*in[k+3];
        }
        groupSum(v, 7, buffer);
        const V3 centre = scaled(v3(v[1], v[2], v[3]), 1/v[0]), drift = scaled(v3(v[4], v[5], v[6]), 1/v[0]);
        for (int k = 0; k < 9; k++)
            v[k] = 0;
        for (int chain = LOCAL_ID; chain < NUM_SEGMENTS; chain += GROUP_SIZE) {
            GLOBAL const mixed* in = summary+chain*SUMMARY_SIZE;
            const mixed n = in[2];
            V3 arm = sub(v3(in[3], in[4], in[5]), centre);
            V3 momentum = cross3(arm, sub(v3(in[6], in[7], in[8]), drift));
            v[0] += in[9]+n*arm.x*arm.x;
            v[1] += in[10]+n*arm.y*arm.y;
            v[2] += in[11]+n*arm.z*arm.z;
            v[3] += in[12]+n*arm.x*arm.y;
            v[4] += in[13]+n*arm.x*arm.z;
            v[5] += in[14]+n*arm.y*arm.z;
            v[6] += in[15]+n*momentum.x;
            v[7] += in[16]+n*momentum.y;
            v[8] += in[17]+n*momentum.z;
        }
        groupSum(v, 9, buffer);
        const V3 rotation = rotationOf(v3(v[0], v[1], v[2]), v3(v[3], v[4], v[5]), v3(v[6], v[7], v[8]));
#endif
        mixed longest = 0;
        for (int i = GLOBAL_ID; i < NUM_MOVING; i += GLOBAL_SIZE) {
            int slot = slots[particles[i]];
            V3 p = positionAt(posq, posqCorrection, slot), d = scaled(get3(allD, i), 1/angstrom);
#ifdef DETREND_SYSTEM
            d = withoutMotion(p, d, centre, drift, rotation, KEEP_SHAPE);
#endif
            if (i < NUM_BEADS)
                longest = max(longest, dot3(d, d));
            p = add(p, d);
            real4 old = posq[slot];
            posq[slot] = make_real4((real) p.x, (real) p.y, (real) p.z, old.w);
#ifdef USE_MIXED_PRECISION
            posqCorrection[slot] = make_real4(p.x-(real) p.x, p.y-(real) p.y, p.z-(real) p.z, 0);
#endif
        }
        longest = groupMax(longest, buffer);
        if (LOCAL_ID == 0)
            status[2+GROUP_ID] = (float) sqrt(longest);
    }
}

)KERNEL";

} // namespace OpenMMNemo
