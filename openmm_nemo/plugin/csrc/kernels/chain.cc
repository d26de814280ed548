R"KERNEL(
    /**
     * Nested sums along the chain over the threads before this one (after it, if reversed): *a becomes the sum of all
     * a, and *b that of all b and of d x (sum of the a before it).
     */
    DEVICE void nestedScan(V3* a, V3* b, V3 d, int reversed, LOCAL_ARG mixed* buffer) {
        const int rank = (reversed ? GROUP_SIZE - 1 - (int) LOCAL_ID : (int) LOCAL_ID);
        V3 sa = *a, sb = *b, sd = d;
        for (int distance = 1; distance <= GROUP_SIZE; distance *= 2) {
            buffer[rank] = sa.x;
            buffer[GROUP_SIZE + rank] = sa.y;
            buffer[2 * GROUP_SIZE + rank] = sa.z;
            buffer[3 * GROUP_SIZE + rank] = sb.x;
            buffer[4 * GROUP_SIZE + rank] = sb.y;
            buffer[5 * GROUP_SIZE + rank] = sb.z;
            buffer[6 * GROUP_SIZE + rank] = sd.x;
            buffer[7 * GROUP_SIZE + rank] = sd.y;
            buffer[8 * GROUP_SIZE + rank] = sd.z;
            SYNC_THREADS;
            // In the last round, everything before this thread is read.
            const int other = (distance == GROUP_SIZE ? rank - 1 : rank - distance);
            V3 oa = zero3(), ob = zero3(), od = zero3();
            if (other >= 0) {
                oa = v3(buffer[other], buffer[GROUP_SIZE + other], buffer[2 * GROUP_SIZE + other]);
                ob = v3(buffer[3 * GROUP_SIZE + other], buffer[4 * GROUP_SIZE + other], buffer[5 * GROUP_SIZE + other]);
                od = v3(buffer[6 * GROUP_SIZE + other], buffer[7 * GROUP_SIZE + other], buffer[8 * GROUP_SIZE + other]);
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
     * What the internal coordinates of row j do at y: the points from j on move by stretch and turn about bend, per
     * unit of b~ and a~, and turn about direction[j-1], per radian of d. First of all bonds, then of all angles; each
     * returns the slope of log|det dx/dz|.
     */
    DEVICE mixed findBond(GLOBAL const mixed4* RESTRICT y, int j, GLOBAL mixed4* RESTRICT stretch,
                          GLOBAL mixed4* RESTRICT direction) {
        if (j < 1)
            return 0;
        V3 bond = sub(get3(y, j), get3(y, j - 1));
        const mixed length = lengthOf(bond), slope = 1 - exp(-length);
        V3 unit = scaled(bond, 1 / length);
        put3(direction, j, unit);
        put3(stretch, j, scaled(unit, slope));
        return 2 * slope / length + 1 - slope;
    }

    DEVICE mixed findAngle(GLOBAL const mixed4* RESTRICT direction, int j, GLOBAL mixed4* RESTRICT bend) {
        if (j < 2)
            return 0;
        V3 previous = get3(direction, j - 1), here = get3(direction, j);
        V3 normal = cross3(previous, here);
        const mixed sine = lengthOf(normal), cosine = -dot3(previous, here);
        // As exact as atan2 and faster.
        mixed angle = acos(cosine);
        if (fabs(cosine) > (mixed) 0.9f)
            angle = (cosine > 0 ? asin(sine) : PI - asin(sine));
        const mixed slope = angle * (PI - angle) / PI;
        put3(bend, j, scaled(normal, -slope / sine));
        return slope * cosine / sine + 1 - 2 * angle / PI;
    }

    /** d = J dz for the beads first ... last-1 of this thread. */
    DEVICE void displacement(GLOBAL const mixed4* RESTRICT y, GLOBAL const mixed4* RESTRICT stretch,
                             GLOBAL const mixed4* RESTRICT bend, GLOBAL const mixed4* RESTRICT direction,
                             GLOBAL const mixed4* RESTRICT dz, GLOBAL mixed4* RESTRICT d, int first, int last,
                             LOCAL_ARG mixed* buffer) {
        // First only for its own beads; in the second round, also for those before.
        V3 rotation = zero3(), sum = zero3();
        for (int round = 0; round < 2; round++) {
            if (first == 0 && last > 0)
                put3(d, 0, zero3());
            for (int j = max(first, 1); j < last; j++) {
                V3 change = get3(dz, j);
                if (j > 1)
                    rotation = add(rotation, scaled(get3(bend, j), change.y));
                if (j > 2)
                    rotation = add(rotation, scaled(get3(direction, j - 1), change.z));
                V3 bond = sub(get3(y, j), get3(y, j - 1));
                sum = add(sum, add(scaled(get3(stretch, j), change.x), cross3(rotation, bond)));
                put3(d, j, sum);
            }
            if (round == 0) {
                V3 span = (first < last ? sub(get3(y, last - 1), get3(y, max(first - 1, 0))) : zero3());
                // The scan adds d x a where the sum of displacements has a x d.
                sum = scaled(sum, -1);
                nestedScan(&rotation, &sum, span, 0, buffer);
                sum = scaled(sum, -1);
            }
        }
    }
)KERNEL"
