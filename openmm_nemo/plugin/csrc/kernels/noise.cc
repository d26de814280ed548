R"KERNEL(
    /** Standard normal numbers: Philox 4x32-10 and Box-Muller. */
    DEVICE V3 langevinNoise(unsigned int seed, unsigned int replica, unsigned int step, unsigned int chain,
                            unsigned int bead, unsigned int stream) {
        unsigned int c0 = step, c1 = chain, c2 = bead, c3 = stream, k0 = seed, k1 = replica;
        for (int round = 0; round < 10; round++) {
            mm_ulong p0 = ((mm_ulong) 0xD2511F53u) * c0, p1 = ((mm_ulong) 0xCD9E8D57u) * c2;
            c0 = ((unsigned int) (p1 >> 32)) ^ c1 ^ k0;
            c1 = (unsigned int) p1;
            c2 = ((unsigned int) (p0 >> 32)) ^ c3 ^ k1;
            c3 = (unsigned int) p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        const mixed cell = ((mixed) 1) / ((mixed) 4294967296.0f), centre = 0.5f;
        mixed radius = sqrt(-2 * log((c0 + centre) * cell)), turns = 2 * cell * (c1 + centre);
        mixed other = sqrt(-2 * log((c2 + centre) * cell));
        return v3(radius * cospi(turns), radius * sinpi(turns), other * cospi(2 * cell * (c3 + centre)));
    }
)KERNEL"
