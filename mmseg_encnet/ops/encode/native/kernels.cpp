// The encoding, fused for the CPU, using the best vector instructions of the processor.
//
// __init__.py loads this as a plain shared library; compiling it needs neither torch nor Python's
// headers. Each .inc file builds on those before it; all are compiled once per instruction set, each
// into its own namespace.

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef _OPENMP
#include <omp.h>
#endif

// Mirrors the structure of the same name in __init__.py.
struct Problem {
    const float *x;          // (B, C, N); the last stride is 1, or with channels last the one before
    const float *codewords;  // (K, C), about `centre`
    const float *scale;      // (K,)
    const float *centre;     // (C,), subtracted from the features, or null
    const float *grad;       // (B, K, C), backward only
    float *distances;        // (B, K, N), or null if the forward pass need not keep them
    float *grad_x;           // (B, C, N) in the order of x, backward only
    float *result;           // forward (B, K, C); backward (K, C), the codewords' gradient
    float *grad_scale;       // (K,), backward only
    float *scratch;          // of scratch_floats() elements, aligned to a cache line
    int64_t stride_b, stride_c, stride_n;                 // of x
    int64_t grad_stride_b, grad_stride_c, grad_stride_n;  // of grad_x
    int64_t batch, channels, positions, codes;
    int64_t channels_last, threads;
    float negligible, smallest_logit;  // of assignment weights, see numerics.py
};

namespace {

constexpr int64_t CACHE_LINE = 16;  // floats

int64_t up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,prefer-vector-width=512")
#endif
#define INSTRUCTIONS avx512
#define LANES 16
#define REGISTERS 32
#include "product.inc"
#include "tiles.inc"
#include "passes.inc"
#undef INSTRUCTIONS
#undef LANES
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define INSTRUCTIONS avx2
#define LANES 8
#define REGISTERS 16
#include "product.inc"
#include "tiles.inc"
#include "passes.inc"
#undef INSTRUCTIONS
#undef LANES
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#define INSTRUCTIONS baseline
#define LANES 4
#define REGISTERS 16
#include "product.inc"
#include "tiles.inc"
#include "passes.inc"

namespace {

struct InstructionSet {
    const char *name;
    int64_t (*scratch_floats)(const Problem &, bool);
    void (*forward)(const Problem &);
    void (*backward)(const Problem &);
};

#define ENTRY(NAME) {#NAME, NAME::scratch_floats, NAME::forward, NAME::backward}
constexpr InstructionSet SETS[] = {
#if defined(__x86_64__)
    ENTRY(avx512),
    ENTRY(avx2),
#endif
    ENTRY(baseline),
};
constexpr int64_t COUNT = sizeof(SETS) / sizeof(SETS[0]);

bool runs_here(int64_t set) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (set == 0) return __builtin_cpu_supports("avx512f");
    if (set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return set == COUNT - 1;
}

}  // namespace

extern "C" {

// Returns the name of the instruction set with this index, or null if the processor lacks it or the
// index is past the last one. The first one available is the fastest.
const char *instruction_set(int64_t set, int64_t *count) {
    *count = COUNT;
    return set < COUNT && runs_here(set) ? SETS[set].name : nullptr;
}

int64_t scratch_floats(int64_t set, const Problem *problem, int64_t backward) {
    return SETS[set].scratch_floats(*problem, backward != 0);
}

void encode_forward(int64_t set, const Problem *problem) { SETS[set].forward(*problem); }

void encode_backward(int64_t set, const Problem *problem) { SETS[set].backward(*problem); }
}
