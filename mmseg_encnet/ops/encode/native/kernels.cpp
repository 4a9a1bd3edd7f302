// The encoding, fused for the CPU, using the best vector instructions of the processor.
//
// __init__.py loads this as a plain shared library; compiling it needs neither torch nor Python's
// headers.

#include <cstdint>

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

#define PARTS "encode/native/parts.inc"
#include "native/instruction_sets.inc"

namespace {

struct InstructionSet {
    int64_t (*scratch_floats)(const Problem &, bool);
    void (*forward)(const Problem &);
    void (*backward)(const Problem &);
};

#define ENTRY(NAME) {NAME::scratch_floats, NAME::forward, NAME::backward}
constexpr InstructionSet SETS[] = {EACH_SET(ENTRY)};

}  // namespace

extern "C" {

EXPORTED int64_t scratch_floats(int64_t set, const Problem *problem, int64_t backward) {
    return SETS[set].scratch_floats(*problem, backward != 0);
}

EXPORTED void encode_forward(int64_t set, const Problem *problem) { SETS[set].forward(*problem); }

EXPORTED void encode_backward(int64_t set, const Problem *problem) { SETS[set].backward(*problem); }
}
