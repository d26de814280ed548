R"KERNEL(
    /** Force on the particle in a slot, kJ/mol/nm. */
    DEVICE inline V3 forceAt(GLOBAL const mm_long* RESTRICT force, int slot) {
        const mixed unit = ((mixed) 1) / ((mixed) 4294967296.0f);
        return v3(unit * force[slot], unit * force[slot + PADDED_NUM_ATOMS], unit * force[slot + 2 * PADDED_NUM_ATOMS]);
    }

    /**
     * Forces are fixed-point numbers: those that were not finite are now at or near the end of their range. Two such
     * forces on one particle may add up to zero, which cannot be detected.
     */
    DEVICE inline int isLost(V3 f) {
        return !(fabs(f.x) < LARGEST_FORCE && fabs(f.y) < LARGEST_FORCE && fabs(f.z) < LARGEST_FORCE);
    }

    /**
     * The displacement of every particle that moves, from the roots of the step sizes and of the preconditioners. The
     * segments from NUM_CHAINS on are portions of the particles in no chain, whose noise is that of one more chain in
     * which their indices are the beads. inverseKT is that of the first replica, coldness what to multiply it by in
     * each replica.
     *
     * summary: for every segment, whether something is not finite, whether it was clipped, its number of beads, and its
     * Motion, nm.
     */
    KERNEL void nemoDisplace(unsigned int seed, unsigned int step, mixed inverseKT, mixed cartesianRoot,
                             mixed internalRoot, mixed limit, GLOBAL const real4* RESTRICT posq,
                             GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const mm_long* RESTRICT force,
                             GLOBAL const int* RESTRICT slots, GLOBAL const int* RESTRICT particles,
                             GLOBAL const int* RESTRICT chainStart, GLOBAL const mixed4* RESTRICT internalRoots,
                             GLOBAL const mixed* RESTRICT cartesianRoots, GLOBAL const mixed* RESTRICT coldness,
                             GLOBAL mixed4* RESTRICT allX, GLOBAL mixed4* RESTRICT allY, GLOBAL mixed4* RESTRICT allG,
                             GLOBAL mixed4* RESTRICT allDz, GLOBAL mixed4* RESTRICT allD,
                             GLOBAL mixed4* RESTRICT allStage, GLOBAL mixed4* RESTRICT allStretch,
                             GLOBAL mixed4* RESTRICT allBend, GLOBAL mixed4* RESTRICT allDirection,
                             GLOBAL mixed* RESTRICT summary) {
        LOCAL mixed buffer[9 * GROUP_SIZE];
        const mixed angstrom = ANGSTROM_PER_NM;
        for (int chain = GROUP_ID; chain < NUM_SEGMENTS; chain += NUM_GROUPS) {
            const int start = chainStart[chain], n = chainStart[chain + 1] - start, isChain = (chain < NUM_CHAINS);
            const int replica = (isChain ? chain / CHAINS_PER_REPLICA : 0);
            const int inReplica = (isChain ? chain % CHAINS_PER_REPLICA : NUM_CHAINS);
            GLOBAL mixed4* x = allX + start;
            GLOBAL mixed4* y = allY + start;
            GLOBAL mixed4* g = allG + start;
            GLOBAL mixed4* dz = allDz + start;
            GLOBAL mixed4* d = allD + start;
            GLOBAL mixed4* stage = allStage + start;
            GLOBAL mixed4* stretch = allStretch + start;
            GLOBAL mixed4* bend = allBend + start;
            GLOBAL mixed4* direction = allDirection + start;
            V3 origin = zero3();
            if (n > 0)
                origin = positionAt(posq, posqCorrection, slots[particles[start]]);
            int lost = 0;

            // The Cartesian step.
            for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
                int particle = particles[start + i], slot = slots[particle];
                V3 position = scaled(sub(positionAt(posq, posqCorrection, slot), origin), angstrom);
                V3 f = forceAt(force, slot);
                lost |= isLost(f);
                V3 gradient = scaled(f, -inverseKT * coldness[replica] / angstrom);
                mixed deviation = cartesianRoot * cartesianRoots[start + i];
                V3 noise = langevinNoise(seed, replica, step, inReplica, isChain ? i : particle, CARTESIAN_STREAM);
                V3 move = sub(scaled(noise, deviation), scaled(gradient, deviation * deviation / 2));
                put3(x, i, position);
                put3(g, i, gradient);
                put3(d, i, move);
                put3(y, i, add(position, move));
            }
            SYNC_THREADS;

            // The internal step from there. Sums along the chain: every thread has the beads first ... last-1.
            mixed clipped = 0;
            if (isChain) {
                const int run = (n + GROUP_SIZE - 1) / GROUP_SIZE;
                const int first = min((int) LOCAL_ID * run, n), last = min(first + run, n);
                for (int j = LOCAL_ID; j < n; j += GROUP_SIZE) {
                    mixed volumeSlope = findBond(y, j, stretch, direction);
                    V3 deviation = scaled(get3(internalRoots, start + j), internalRoot);
                    V3 noise = langevinNoise(seed, replica, step, inReplica, j, INTERNAL_STREAM);
                    V3 change = v3(deviation.x * noise.x, deviation.y * noise.y, deviation.z * noise.z);
#ifdef MEASURE_CORRECTION
                    change.x += deviation.x * deviation.x * volumeSlope / 2;
#endif
                    put3(dz, j, change);
                }
                SYNC_THREADS;
                for (int j = LOCAL_ID; j < n; j += GROUP_SIZE) {
                    mixed volumeSlope = findAngle(direction, j, bend);
#ifdef MEASURE_CORRECTION
                    mixed deviation = get3(internalRoots, start + j).y * internalRoot;
                    V3 change = get3(dz, j);
                    change.y += deviation * deviation * volumeSlope / 2;
                    put3(dz, j, change);
#endif
                }
                SYNC_THREADS;
                V3 downstream = zero3(), torque = zero3();
                for (int j = last - 1; j >= max(first, 1); j--) {
                    downstream = add(downstream, get3(g, j));
                    torque = add(torque, cross3(sub(get3(y, j), get3(y, j - 1)), downstream));
                }
                V3 span = (first < last ? sub(get3(y, last - 1), get3(y, max(first - 1, 0))) : zero3());
                nestedScan(&downstream, &torque, span, 1, buffer);
                for (int j = last - 1; j >= max(first, 1); j--) {
                    downstream = add(downstream, get3(g, j));
                    torque = add(torque, cross3(sub(get3(y, j), get3(y, j - 1)), downstream));
                    V3 deviation = scaled(get3(internalRoots, start + j), internalRoot);
                    V3 change = get3(dz, j);
                    change.x -= deviation.x * deviation.x / 2 * dot3(get3(stretch, j), downstream);
                    if (j > 1)
                        change.y -= deviation.y * deviation.y / 2 * dot3(get3(bend, j), torque);
                    if (j > 2)
                        change.z -= deviation.z * deviation.z / 2 * dot3(get3(direction, j - 1), torque);
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
                        scale = limit / fastest;
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

            // Rigid-body motion of the chain.
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
                lost |= !(fabs(move.x + move.y + move.z) < 1e10f);
            }
            mixed bad = groupMax(lost, buffer);
            if (LOCAL_ID == 0) {
                GLOBAL mixed* out = summary + chain * SUMMARY_SIZE;
                V3 centre = add(scaled(motion.centre, 1 / angstrom), origin);
                out[0] = bad;
                out[1] = clipped;
                out[2] = n;
                out[3] = centre.x;
                out[4] = centre.y;
                out[5] = centre.z;
                out[6] = motion.drift.x / angstrom;
                out[7] = motion.drift.y / angstrom;
                out[8] = motion.drift.z / angstrom;
                const mixed square = angstrom * angstrom;
                out[9] = motion.diagonalMoments.x / square;
                out[10] = motion.diagonalMoments.y / square;
                out[11] = motion.diagonalMoments.z / square;
                out[12] = motion.mixedMoments.x / square;
                out[13] = motion.mixedMoments.y / square;
                out[14] = motion.mixedMoments.z / square;
                out[15] = motion.momentum.x / square;
                out[16] = motion.momentum.y / square;
                out[17] = motion.momentum.z / square;
            }
            SYNC_THREADS;
        }
    }

    /**
     * Moves the particles by their displacements, unless one of them, in this or an earlier step, is not finite.
     *
     * status: since it was last read, the number of clipped steps; 1 + number of the step that failed, or 0; then, for
     * every group, the largest displacement of a bead of a chain, nm.
     */
    KERNEL void nemoMove(int step, GLOBAL real4* RESTRICT posq, GLOBAL real4* RESTRICT posqCorrection,
                         GLOBAL const int* RESTRICT slots, GLOBAL const int* RESTRICT particles,
                         GLOBAL const mixed4* RESTRICT allD, GLOBAL const mixed* RESTRICT summary,
                         GLOBAL float* RESTRICT status) {
        LOCAL mixed buffer[9 * GROUP_SIZE];
        const mixed angstrom = ANGSTROM_PER_NM;
        mixed bad = status[1], clipped = 0;
        for (int chain = LOCAL_ID; chain < NUM_SEGMENTS; chain += GROUP_SIZE) {
            bad = max(bad, summary[chain * SUMMARY_SIZE]);
            clipped = max(clipped, summary[chain * SUMMARY_SIZE + 1]);
        }
        bad = groupMax(bad, buffer);
        clipped = groupMax(clipped, buffer);
        if (GROUP_ID == 0 && LOCAL_ID == 0) {
            if (bad == 0)
                status[0] += (clipped > 0);
            else if (status[1] == 0)
                status[1] = step + 1;
        }
        if (bad == 0) {
#ifdef DETREND_SYSTEM
            // Centre and drift of the system, then its moments about them, from those of the chains.
            mixed v[9];
            for (int k = 0; k < 9; k++)
                v[k] = 0;
            for (int chain = LOCAL_ID; chain < NUM_SEGMENTS; chain += GROUP_SIZE) {
                GLOBAL const mixed* in = summary + chain * SUMMARY_SIZE;
                v[0] += in[2];
                for (int k = 0; k < 6; k++)
                    v[k + 1] += in[2] * in[k + 3];
            }
            groupSum(v, 7, buffer);
            const V3 centre = scaled(v3(v[1], v[2], v[3]), 1 / v[0]), drift = scaled(v3(v[4], v[5], v[6]), 1 / v[0]);
            for (int k = 0; k < 9; k++)
                v[k] = 0;
            for (int chain = LOCAL_ID; chain < NUM_SEGMENTS; chain += GROUP_SIZE) {
                GLOBAL const mixed* in = summary + chain * SUMMARY_SIZE;
                const mixed n = in[2];
                V3 arm = sub(v3(in[3], in[4], in[5]), centre);
                V3 momentum = cross3(arm, sub(v3(in[6], in[7], in[8]), drift));
                v[0] += in[9] + n * arm.x * arm.x;
                v[1] += in[10] + n * arm.y * arm.y;
                v[2] += in[11] + n * arm.z * arm.z;
                v[3] += in[12] + n * arm.x * arm.y;
                v[4] += in[13] + n * arm.x * arm.z;
                v[5] += in[14] + n * arm.y * arm.z;
                v[6] += in[15] + n * momentum.x;
                v[7] += in[16] + n * momentum.y;
                v[8] += in[17] + n * momentum.z;
            }
            groupSum(v, 9, buffer);
            const V3 rotation = rotationOf(v3(v[0], v[1], v[2]), v3(v[3], v[4], v[5]), v3(v[6], v[7], v[8]));
#endif
            mixed longest = 0;
            for (int i = GLOBAL_ID; i < NUM_MOVING; i += GLOBAL_SIZE) {
                int slot = slots[particles[i]];
                V3 p = positionAt(posq, posqCorrection, slot), d = scaled(get3(allD, i), 1 / angstrom);
#ifdef DETREND_SYSTEM
                d = withoutMotion(p, d, centre, drift, rotation, KEEP_SHAPE);
#endif
                if (i < NUM_BEADS)
                    longest = max(longest, dot3(d, d));
                p = add(p, d);
                real4 old = posq[slot];
                posq[slot] = make_real4((real) p.x, (real) p.y, (real) p.z, old.w);
#ifdef USE_MIXED_PRECISION
                posqCorrection[slot] = make_real4(p.x - (real) p.x, p.y - (real) p.y, p.z - (real) p.z, 0);
#endif
            }
            longest = groupMax(longest, buffer);
            if (LOCAL_ID == 0)
                status[2 + GROUP_ID] = (float) sqrt(longest);
        }
    }
)KERNEL"
