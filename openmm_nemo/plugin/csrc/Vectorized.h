#ifndef OPENMM_NEMO_VECTORIZED_H_
#define OPENMM_NEMO_VECTORIZED_H_

// Compiles a function several times; the processor decides at run time which version is used.
#if defined(__x86_64__) && defined(__linux__) && __GNUC__ >= 12
#define VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__linux__)
#define VECTORIZED __attribute__((target_clones("avx2", "default")))
#else
#define VECTORIZED
#endif

#endif
