// Cross-entropy of logits interpolated to the size of the labels, fused for the CPU, using the best
// vector instructions of the processor.
//
// __init__.py loads this as a plain shared library; compiling it needs neither torch nor Python's
// headers.

#include <cmath>
#include <cstdint>

// Mirrors the structure of the same name in __init__.py.
struct Problem {
    const float *logits;         // (B, h, w, padded), classes padded to whole vectors
    const int64_t *label;        // (B, H, W)
    const float *class_weight;   // (C,) or null
    const float *pixel_weight;   // (B, H, W) or null
    const float *share;          // (padded,), each class's share of the smoothed label, or null
    const int64_t *start;        // (h + 1,), the first row of labels between two small rows
    const float *row_weight;     // (H, 2), weights of the small rows above and below
    const int64_t *column;       // (W,), the small column on the left
    const float *column_weight;  // (W, 2)
    float *lower;                // (B, h, w, padded), gradient of each row from the pixels below it
    float *upper;                // the same of the next row from the pixels above it
    double *sums;                // (B, h, SUMS): loss, weights, correct, labelled, invalid
    float *scratch;              // (threads, VECTORS, padded)
    int64_t batch, classes, padded, height, width, label_height, label_width;
    int64_t ignore_index, keep, use_sigmoid, threads;
    float own_share, share_sum;  // of the label in the smoothed label, and of all classes
};

namespace {
constexpr int64_t SUMS = 5, VECTORS = 5;
}

#define PARTS "upsampled_cross_entropy/native/passes.inc"
#include "native/instruction_sets.inc"

#define ENTRY(NAME) NAME::run
namespace {
constexpr void (*SETS[])(const Problem &) = {EACH_SET(ENTRY)};
}

extern "C" EXPORTED void cross_entropy(int64_t set, const Problem *problem) { SETS[set](*problem); }
