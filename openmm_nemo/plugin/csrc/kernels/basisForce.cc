R"KERNEL(
    /** Adds minus a gradient, kT/Angstrom, to the force on the particle in a slot. */
    DEVICE inline void addGradient(GLOBAL mm_ulong* RESTRICT force, int slot, V3 gradient, mixed unit) {
        ATOMIC_ADD(&force[slot], (mm_ulong) realToFixedPoint((real) (-unit * gradient.x)));
        ATOMIC_ADD(&force[slot + PADDED_NUM_ATOMS], (mm_ulong) realToFixedPoint((real) (-unit * gradient.y)));
        ATOMIC_ADD(&force[slot + 2 * PADDED_NUM_ATOMS], (mm_ulong) realToFixedPoint((real) (-unit * gradient.z)));
    }

    /** Gradient with respect to a vector, from that with respect to its direction. */
    DEVICE inline V3 unitGradient(V3 v, V3 gradient) {
        const mixed squared = dot3(v, v), inverse = 1 / lengthOf(v);
        if (!(squared <= SHORTEST * SHORTEST))
            gradient = sub(gradient, scaled(v, dot3(v, gradient) * inverse * inverse));
        return scaled(gradient, inverse);
    }

    /** Bond from one residue to the next, Angstrom. */
    DEVICE inline V3 bondAt(GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection,
                            GLOBAL const int* RESTRICT slots, int residue) {
        V3 d = sub(positionAt(posq, posqCorrection, slots[residue + 1]), positionAt(posq, posqCorrection, slots[residue]));
        return scaled(d, ANGSTROM_PER_NM);
    }

    DEVICE inline V3 unit3(V3 v) {
        return scaled(v, 1 / lengthOf(v));
    }

    /** Adds the gradient with respect to a bond, from that with respect to its direction. */
    DEVICE inline void addBondGradient(GLOBAL mm_ulong* RESTRICT force, GLOBAL const int* RESTRICT slots, int residue,
                                       V3 bond, V3 gradient, mixed unit) {
        const V3 g = unitGradient(bond, gradient);
        addGradient(force, slots[residue + 1], g, unit);
        addGradient(force, slots[residue], scaled(g, -1), unit);
    }

    /** The pair basis and the hard core of residue i with all others, whose frame has these axes: adds to v[0..12]. */
    DEVICE void addPairs(int i, V3 e0, V3 e1, V3 e2, GLOBAL const real4* RESTRICT posq,
                         GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                         GLOBAL const int* RESTRICT places, GLOBAL const float* RESTRICT pairs,
                         GLOBAL mm_ulong* RESTRICT force, mixed unit, mixed* v) {
        const real shellCentres[NUM_SHELLS] = {SHELL_CENTRES}, shellWidths[NUM_SHELLS] = {SHELL_WIDTHS};
        const V3 x = positionAt(posq, posqCorrection, slots[i]);
        for (int j = LOCAL_ID; j < NUM_RESIDUES; j += GROUP_SIZE) {
            if (places[j] > places[i] - MIN_SEPARATION && places[j] < places[i] + MIN_SEPARATION)
                continue;
            const V3 d = scaled(sub(positionAt(posq, posqCorrection, slots[j]), x), ANGSTROM_PER_NM);
            const int apart = !(dot3(d, d) <= SHORTEST * SHORTEST);
            const real distance = (real) lengthOf(d);
            if (distance > CUTOFF)
                continue;
            real energy = 0, slope = 0;
            V3 gradient = zero3();
#ifdef HAS_PAIRS
            GLOBAL const float* RESTRICT c = pairs + ((mm_long) i * NUM_PAIR_FUNCTIONS) * NUM_RESIDUES + j;
            for (int k = 0; k < NUM_RADIAL; k++, c += NUM_RESIDUES) {
                const real z = (distance - (real) NEAREST) * (real) (1 / RADIAL_WIDTH) - k;
                const real value = *c * EXP(-z * z);
                energy += value;
                slope -= (real) (2 / RADIAL_WIDTH) * z * value;
            }
            const real rx = (real) dot3(e0, d), ry = (real) dot3(e1, d), rz = (real) dot3(e2, d);
            real ax = 0, ay = 0, az = 0, turnedSlope = 0;
            for (int s = 0; s < NUM_SHELLS; s++, c += 3 * NUM_RESIDUES) {
                const real z = (distance - shellCentres[s]) / shellWidths[s], shell = EXP(-z * z);
                const real cx = c[0], cy = c[NUM_RESIDUES], cz = c[2 * NUM_RESIDUES];
                ax += shell * cx;
                ay += shell * cy;
                az += shell * cz;
                turnedSlope -= 2 * z / shellWidths[s] * shell * (cx * rx + cy * ry + cz * rz);
            }
            const real fade = 1 / SQRT(1 + distance * distance), turned = ax * rx + ay * ry + az * rz;
            energy += fade * turned;
            slope += fade * turnedSlope - distance * fade * fade * fade * turned;
            gradient = scaled(add(add(scaled(e0, ax), scaled(e1, ay)), scaled(e2, az)), fade);
            v[4] += fade * ax * d.x;
            v[5] += fade * ax * d.y;
            v[6] += fade * ax * d.z;
            v[7] += fade * ay * d.x;
            v[8] += fade * ay * d.y;
            v[9] += fade * ay * d.z;
            v[10] += fade * az * d.x;
            v[11] += fade * az * d.y;
            v[12] += fade * az * d.z;
#endif
#ifdef HAS_BACKBONE
            // Each pair occurs twice.
            const real overlap = max((real) CORE_DIAMETER - distance, (real) 0);
            energy += (real) (CORE_STIFFNESS / 4) * overlap * overlap;
            slope -= (real) (CORE_STIFFNESS / 2) * overlap;
#endif
            if (apart)
                gradient = add(gradient, scaled(d, slope / distance));
            v[0] += energy;
            v[1] -= gradient.x;
            v[2] -= gradient.y;
            v[3] -= gradient.z;
            addGradient(force, slots[j], gradient, unit);
        }
    }

    /** The chain basis of a residue: its energy; adds to the force. */
    DEVICE mixed addChainFunctions(int i, GLOBAL const float* RESTRICT k, GLOBAL const real4* RESTRICT posq,
                                   GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                                   GLOBAL mm_ulong* RESTRICT force, mixed unit) {
        const mixed angleCentres[NUM_ANGLES] = {ANGLE_CENTRES};
        const V3 b0 = bondAt(posq, posqCorrection, slots, i - 3), b1 = bondAt(posq, posqCorrection, slots, i - 2);
        const V3 b2 = bondAt(posq, posqCorrection, slots, i - 1);
        const V3 u0 = unit3(b0), u1 = unit3(b1), u2 = unit3(b2), before = cross3(u0, u1), after = cross3(u1, u2);
        const mixed cosine = -dot3(u1, u2), c = dot3(before, after), s = dot3(u0, after);
        const mixed inverse = 1 / sqrt(c * c + s * s + SMOOTHING);
        mixed energy = 0, byCosine = 0;
        for (int m = 0; m < NUM_ANGLES; m++) {
            const mixed z = (cosine - angleCentres[m]) / ANGLE_WIDTH, value = k[m] * exp(-z * z);
            energy += value;
            byCosine -= 2 * z / ANGLE_WIDTH * value;
        }
        // Powers of C + i S, for cosine and sine of the dihedral, and the gradient with respect to C and S.
        const mixed bends[3] = {1, cosine, 2 * cosine * cosine - 1}, slopes[3] = {0, 1, 4 * cosine};
        const mixed unitC = c * inverse, unitS = s * inverse;
        mixed powerC = 1, powerS = 0, byC = 0, byS = 0;
        k += NUM_ANGLES;
        for (int order = 1; order <= 3; order++, k += 6) {
            const mixed nextC = powerC * unitC - powerS * unitS, nextS = powerC * unitS + powerS * unitC;
            mixed ofCosine = 0, ofSine = 0;
            for (int m = 0; m < 3; m++) {
                ofCosine += k[m] * bends[m];
                ofSine += k[3 + m] * bends[m];
                byCosine += slopes[m] * (k[m] * nextC + k[3 + m] * nextS);
            }
            energy += ofCosine * nextC + ofSine * nextS;
            byC += order * (ofCosine * powerC + ofSine * powerS);
            byS += order * (ofSine * powerC - ofCosine * powerS);
            powerC = nextC;
            powerS = nextS;
        }
        const mixed along = byC * unitC + byS * unitS;
        const mixed gradientC = inverse * (byC - unitC * along), gradientS = inverse * (byS - unitS * along);
        const V3 byBefore = scaled(after, gradientC), byAfter = add(scaled(before, gradientC), scaled(u0, gradientS));
        const V3 g0 = add(cross3(u1, byBefore), scaled(after, gradientS));
        const V3 g1 = sub(add(cross3(byBefore, u0), cross3(u2, byAfter)), scaled(u2, byCosine));
        const V3 g2 = sub(cross3(byAfter, u1), scaled(u1, byCosine));
        addBondGradient(force, slots, i - 3, b0, g0, unit);
        addBondGradient(force, slots, i - 2, b1, g1, unit);
        addBondGradient(force, slots, i - 1, b2, g2, unit);
        return energy;
    }

    /**
     * One group of threads per residue: its frame with all other residues, the chain basis of the residue and the bond
     * to the next one. The energy is in kT, and the scale multiplies it.
     *
     * slots: of the residues; places: see NemoBasisForce; pairs: [residue][function][other residue].
     */
    KERNEL void nemoBasisForce(mixed scale, GLOBAL mm_ulong* RESTRICT force, GLOBAL mixed* RESTRICT energyBuffer,
                               GLOBAL mixed* RESTRICT energyParamDerivs, GLOBAL const real4* RESTRICT posq,
                               GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                               GLOBAL const int* RESTRICT places, GLOBAL const float* RESTRICT pairs,
                               GLOBAL const float* RESTRICT chain) {
        LOCAL mixed buffer[13 * GROUP_SIZE];
        const mixed unit = KT * scale * ANGSTROM_PER_NM;
        mixed energy = 0;
        for (int i = GROUP_ID; i < NUM_RESIDUES; i += NUM_GROUPS) {
            const int hasBond = (i < NUM_RESIDUES - 1 && places[i + 1] == places[i] + 1);
            const int hasFrame = (hasBond && i > 0 && places[i - 1] == places[i] - 1);
            V3 before = zero3(), after = zero3(), e0 = zero3(), e1 = zero3(), e2 = zero3(), normal = zero3();
            mixed fade = 0, sum = 1;
            if (hasFrame) {
                before = bondAt(posq, posqCorrection, slots, i - 1);
                after = bondAt(posq, posqCorrection, slots, i);
                normal = cross3(unit3(before), unit3(after));
                sum = dot3(normal, normal) + STRAIGHT;
                fade = 1 - STRAIGHT / sum;
                e0 = unit3(sub(unit3(before), unit3(after)));
                e1 = unit3(normal);
                e2 = cross3(e0, e1);
            }
            mixed v[13];
            for (int k = 0; k < 13; k++)
                v[k] = 0;
            addPairs(i, scaled(e0, fade), scaled(e1, fade), scaled(e2, fade), posq, posqCorrection, slots, places,
                     pairs, force, unit, v);
            groupSum(v, 13, buffer);
            if (LOCAL_ID == 0) {
                energy += v[0];
                addGradient(force, slots[i], v3(v[1], v[2], v[3]), unit);
#ifdef HAS_PAIRS
                if (hasFrame) {
                    const V3 u0 = unit3(before), u1 = unit3(after);
                    const V3 g0 = v3(v[4], v[5], v[6]), g1 = v3(v[7], v[8], v[9]), g2 = v3(v[10], v[11], v[12]);
                    const mixed byFade = dot3(g0, e0) + dot3(g1, e1) + dot3(g2, e2);
                    const V3 byBisector = unitGradient(sub(u0, u1), scaled(add(g0, cross3(e1, g2)), fade));
                    const V3 byNormal = add(unitGradient(normal, scaled(add(g1, cross3(g2, e0)), fade)),
                                            scaled(normal, 2 * byFade * STRAIGHT / (sum * sum)));
                    addBondGradient(force, slots, i - 1, before, add(byBisector, cross3(u1, byNormal)), unit);
                    addBondGradient(force, slots, i, after, sub(cross3(byNormal, u0), byBisector), unit);
                }
#endif
#ifdef HAS_CHAIN
                if (i > 2 && places[i - 3] == places[i] - 3)
                    energy +=
                        addChainFunctions(i, chain + i * NUM_CHAIN_FUNCTIONS, posq, posqCorrection, slots, force, unit);
#endif
#ifdef HAS_BACKBONE
                if (hasBond) {
                    const V3 bond = bondAt(posq, posqCorrection, slots, i);
                    const mixed length = lengthOf(bond), stretch = (length - BOND_LENGTH) / BOND_WIDTH;
                    const mixed root = sqrt(1 + stretch * stretch);
                    energy += BOND_STRENGTH * (root - 1);
                    if (!(dot3(bond, bond) <= SHORTEST * SHORTEST)) {
                        const V3 g = scaled(bond, BOND_STRENGTH * stretch / (root * BOND_WIDTH * length));
                        addGradient(force, slots[i + 1], g, unit);
                        addGradient(force, slots[i], scaled(g, -1), unit);
                    }
                }
#endif
            }
        }
        energyBuffer[GLOBAL_ID] += KT * scale * energy;
        energyParamDerivs[GLOBAL_ID * NUM_DERIVATIVES + DERIVATIVE] += KT * energy;
    }
)KERNEL"
