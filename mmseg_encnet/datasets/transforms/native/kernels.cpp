// Parts of Pillow's resampling and box blur with Pillow's integer arithmetic, so that the results are
// equal to the bit. They compute a window of a resized image without the pixels around it.
//
// __init__.py loads this as a plain shared library; compiling it needs neither torch nor Python's
// headers.

#include <cstdint>

#define PARTS "native/pixels.inc"
#include "native/instruction_sets.inc"

namespace {
#define RESAMPLE(NAME) NAME::resample
#define BLUR(NAME) NAME::blur
constexpr decltype(&baseline::resample) RESAMPLERS[] = {EACH_SET(RESAMPLE)};
constexpr decltype(&baseline::blur) BLURS[] = {EACH_SET(BLUR)};
}  // namespace

extern "C" {

// For the arguments see pixels.inc.
EXPORTED void resample(int64_t set, const uint8_t *image, int64_t width, int64_t channels,
                       const int32_t *columns, const int32_t *rows, int64_t out_width,
                       int64_t out_height, int64_t column_taps, int64_t row_taps, uint8_t *scratch,
                       uint8_t *out) {
    RESAMPLERS[set](image, width, channels, columns, rows, out_width, out_height, column_taps,
                    row_taps, scratch, out);
}

EXPORTED void blur(int64_t set, const uint8_t *image, int64_t height, int64_t width, int64_t channels,
                   uint32_t centre, uint32_t side, int64_t passes, uint8_t *scratch, uint8_t *out) {
    BLURS[set](image, height, width, channels, centre, side, passes, scratch, out);
}
}
