R"KERNEL(
    /** Rotation about the centre that has an angular momentum, from the second moments of the points. */
    DEVICE V3 rotationOf(V3 diagonalMoments, V3 mixedMoments, V3 momentum) {
        const mixed trace = diagonalMoments.x + diagonalMoments.y + diagonalMoments.z;
        const mixed ridge = RIDGE * trace + RIDGE_FLOOR, diagonal = trace + ridge;
        const mixed xy = mixedMoments.x, xz = mixedMoments.y, yz = mixedMoments.z;
        const mixed a = diagonal - diagonalMoments.x, ba = -xy / a, ca = -xz / a;
        const mixed b = max(diagonal - diagonalMoments.y + ba * xy, ridge), bc = ba * xz - yz, cb = bc / b;
        const mixed c = max(diagonal - diagonalMoments.z + ca * xz - cb * bc, ridge);
        const mixed second = momentum.y - ba * momentum.x, third = momentum.z - ca * momentum.x - cb * second;
        V3 rotation;
        rotation.z = third / c;
        rotation.y = second / b - cb * rotation.z;
        rotation.x = momentum.x / a - ba * rotation.y - ca * rotation.z;
        return rotation;
    }

    /** Centre, drift and moments of n points x that are displaced by d. */
    typedef struct {
        V3 centre, drift, diagonalMoments, mixedMoments, momentum;
    } Motion;

    DEVICE Motion motionOf(GLOBAL const mixed4* RESTRICT x, GLOBAL const mixed4* RESTRICT d, int n,
                           LOCAL_ARG mixed* buffer) {
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
        motion.centre = scaled(v3(v[0], v[1], v[2]), 1 / (mixed) n);
        motion.drift = scaled(v3(v[3], v[4], v[5]), 1 / (mixed) n);
        for (int k = 0; k < 9; k++)
            v[k] = 0;
        for (int i = LOCAL_ID; i < n; i += GROUP_SIZE) {
            V3 arm = sub(get3(x, i), motion.centre);
            V3 momentum = cross3(arm, sub(get3(d, i), motion.drift));
            v[0] += arm.x * arm.x;
            v[1] += arm.y * arm.y;
            v[2] += arm.z * arm.z;
            v[3] += arm.x * arm.y;
            v[4] += arm.x * arm.z;
            v[5] += arm.y * arm.z;
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
        if (angle > SMALLEST_ROTATION) {
            s = sin(angle) / angle;
            ofHalf = sin(angle / 2) / (angle / 2);
        }
        V3 once = cross3(back, v);
        return add(left, add(scaled(once, s), scaled(cross3(back, once), ofHalf * ofHalf / 2)));
    }
)KERNEL"
