// Labels of logits that are resized once or twice, fused for the CPU, using the best vector
// instructions of the processor.
//
// __init__.py loads this as a plain shared library; compiling it needs neither torch nor Python's
// headers.

#include <cstdint>

// Mirrors the structure of the same name in __init__.py.
struct Stage {
    const int64_t *row;          // (rows,), the source row above each row
    const float *row_weight;     // (rows, 2), weights of that source row and of the next one
    const int64_t *column;       // (columns,), the source column on the left of each column
    const float *column_weight;  // (columns, 2)
    int64_t rows, columns, source_rows, source_columns;
};

// Mirrors the structure of the same name in __init__.py.
struct Problem {
    const float *logits;    // (C, h, w)
    const int64_t *classes; // (count,), classes to choose from, ascending
    Stage stages[2];
    int64_t *labels;        // (rows, columns) of the last stage
    float *scratch;         // (threads, `floats`)
    int64_t floats, count, stage_count, band, threads;
};

#define PARTS "upsampled_labels/native/passes.inc"
#include "native/instruction_sets.inc"

#define ENTRY(NAME) NAME::run
namespace {
constexpr void (*SETS[])(const Problem &) = {EACH_SET(ENTRY)};
}

extern "C" EXPORTED void upsampled_labels(int64_t set, const Problem *problem) {
    SETS[set](*problem);
}
