R"KERNEL(
    typedef struct {
        mixed x, y, z;
    } V3;

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
        return v3(a.x + b.x, a.y + b.y, a.z + b.z);
    }

    DEVICE inline V3 sub(V3 a, V3 b) {
        return v3(a.x - b.x, a.y - b.y, a.z - b.z);
    }

    DEVICE inline V3 scaled(V3 a, mixed s) {
        return v3(a.x * s, a.y * s, a.z * s);
    }

    DEVICE inline mixed dot3(V3 a, V3 b) {
        return a.x * b.x + a.y * b.y + a.z * b.z;
    }

    DEVICE inline V3 cross3(V3 a, V3 b) {
        return v3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
    }

    DEVICE inline V3 get3(GLOBAL const mixed4* RESTRICT array, int i) {
        mixed4 v = array[i];
        return v3(v.x, v.y, v.z);
    }

    DEVICE inline void put3(GLOBAL mixed4* RESTRICT array, int i, V3 v) {
        array[i] = make_mixed4(v.x, v.y, v.z, 0);
    }

    /** Position of the particle in a slot, nm. */
    DEVICE inline V3 positionAt(GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, int slot) {
        real4 p = posq[slot];
#ifdef USE_MIXED_PRECISION
        real4 c = posqCorrection[slot];
        return v3(p.x + (mixed) c.x, p.y + (mixed) c.y, p.z + (mixed) c.z);
#else
        return v3(p.x, p.y, p.z);
#endif
    }

    /** Length, at least SHORTEST. */
    DEVICE inline mixed lengthOf(V3 v) {
        return sqrt(max(dot3(v, v), SHORTEST * SHORTEST));
    }

    /** Sums over all threads of n numbers per thread. */
    DEVICE void groupSum(mixed* v, int n, LOCAL_ARG mixed* buffer) {
        for (int k = 0; k < n; k++)
            buffer[k * GROUP_SIZE + LOCAL_ID] = v[k];
        SYNC_THREADS;
        for (int count = GROUP_SIZE / 2; count > 0; count /= 2) {
            if (LOCAL_ID < count)
                for (int k = 0; k < n; k++)
                    buffer[k * GROUP_SIZE + LOCAL_ID] += buffer[k * GROUP_SIZE + LOCAL_ID + count];
            SYNC_THREADS;
        }
        for (int k = 0; k < n; k++)
            v[k] = buffer[k * GROUP_SIZE];
        SYNC_THREADS;
    }

    DEVICE mixed groupMax(mixed v, LOCAL_ARG mixed* buffer) {
        buffer[LOCAL_ID] = v;
        SYNC_THREADS;
        for (int count = GROUP_SIZE / 2; count > 0; count /= 2) {
            if (LOCAL_ID < count)
                buffer[LOCAL_ID] = max(buffer[LOCAL_ID], buffer[LOCAL_ID + count]);
            SYNC_THREADS;
        }
        v = buffer[0];
        SYNC_THREADS;
        return v;
    }
)KERNEL"
