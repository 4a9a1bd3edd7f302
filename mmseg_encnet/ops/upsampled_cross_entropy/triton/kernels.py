"""The Triton kernels of the loss; the package docstring says how they work together.

A *cell* is the pixels between two neighbouring small rows or columns. Runtime arguments that the
kernels share:

- ``row_start``, ``row_weight``: the first row of labels of each cell ``(h + 1,)``, and the weights
  of the small rows above and below each row of labels ``(H, 2)``.
- ``column``, ``column_weight``: the small column on the left of each column of labels ``(W,)``, and
  the weights of that and the next one ``(W, 2)``.
- ``stride_b``, ``stride_c``, ``stride_y``, ``stride_x``: of the logits ``(B, C, h, w)``.
- ``smoothing``: share of the label that is spread over all classes.

Compile-time constants:

- ``SIGMOID``: one binary decision for each class instead of the softmax.
- ``WEIGHTED``, ``PIXELS``, ``SMOOTH``: whether there are class weights, pixel weights and label
  smoothing. Pointers to what is absent are not read.
- ``BLOCK_R``, ``BLOCK_X``, ``BLOCK_C``: rows and columns of labels and classes per tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Finite, because the difference of two infinite values is NaN.
_LOWEST = tl.constexpr(-3.4e38)


@triton.jit
def _neighbours(column, column_weight, x, inside, width):
    """Return the small columns on both sides of columns of labels, and their weights."""
    left = tl.load(column + x, mask=inside, other=0)
    near = tl.load(column_weight + 2 * x, mask=inside, other=0.0)
    far = tl.load(column_weight + 2 * x + 1, mask=inside, other=0.0)
    return left, tl.minimum(left + 1, width - 1), near, far


@triton.jit
def _pixels(label, class_weight, pixel_weight, pixel, inside, classes, ignore_index,
            WEIGHTED: tl.constexpr, PIXELS: tl.constexpr):  # fmt: skip
    """Return labels, which of them count, and the weights of their class and their pixel."""
    own = tl.load(label + pixel, mask=inside, other=0)
    counted = inside & (own != ignore_index)
    known = counted & (own >= 0) & (own < classes)
    own = tl.where(known, own, -1).to(tl.int32)
    weight = counted.to(tl.float32)
    if WEIGHTED:
        weight = tl.load(class_weight + own, mask=known, other=0.0)
    factor = counted.to(tl.float32)
    if PIXELS:
        factor = tl.load(pixel_weight + pixel, mask=counted, other=0.0)
    # Waiting for the host to report labels that are no class would stop the device.
    factor = tl.where(counted & (own < 0), float('nan'), factor)
    return own, counted, weight, factor


@triton.jit
def _log1p(e):
    """Return ``log(1 + e)`` for e from 0 to 1, as ``2 atanh(e / (2 + e))``."""
    z = e / (2.0 + e)
    square = z * z
    series = 1.0 / 11 + square * (1.0 / 13)
    series = 1.0 / 7 + square * (1.0 / 9 + square * series)
    series = 1.0 + square * (1.0 / 3 + square * (1.0 / 5 + square * series))
    return 2.0 * z * series


@triton.jit
def _share(class_weight, c, classes, smoothing, WEIGHTED: tl.constexpr):
    """Return the share of classes in the smoothed label."""
    share = smoothing / classes
    if WEIGHTED:
        share = share * tl.load(class_weight + c, mask=c < classes, other=0.0)
    return share


@triton.jit
def _all_shares(class_weight, classes, smoothing, WEIGHTED: tl.constexpr):
    if WEIGHTED:
        total = tl.zeros((256,), tl.float32)
        for first in range(0, classes, 256):
            total += _share(class_weight, first + tl.arange(0, 256), classes, smoothing, True)
        shares = tl.sum(total, axis=0)
    else:
        shares = smoothing
    return shares


@triton.jit
def normalise(
    logits, label, class_weight, pixel_weight, row_start, row_weight, column, column_weight,
    largest, spread, partial,
    stride_b, stride_c, stride_y, stride_x, classes, height, width, label_height, label_width,
    ignore_index, smoothing,
    SIGMOID: tl.constexpr, WEIGHTED: tl.constexpr, PIXELS: tl.constexpr, SMOOTH: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_X: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Write the sums over a tile of pixels and, for the gradient, their softmax's parameters.

    One program per cell of rows, block of columns and image. `partial` is ``(4, programs)``:
    losses, weights, correct and labelled pixels. `largest` and `spread` ``(B, H, W)`` are the
    largest logit of a pixel, and its factor of the gradient over the sum of the exponentials. The
    sigmoid needs neither.
    """
    row, tile = tl.program_id(0), tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    x = tile * BLOCK_X + tl.arange(0, BLOCK_X)
    inside_x = x < label_width
    left, right, near, far = _neighbours(column, column_weight, x, inside_x, width)
    logits += image * stride_b
    above = logits + row * stride_y
    below = logits + tl.minimum(row + 1, height - 1) * stride_y
    image_pixels = image * label_height * label_width
    label += image_pixels
    pixel_weight += image_pixels
    largest += image_pixels
    spread += image_pixels
    shares = 0.0
    if SMOOTH:
        shares = _all_shares(class_weight, classes, smoothing, WEIGHTED)

    losses = tl.zeros((BLOCK_R, BLOCK_X), tl.float32)
    weights = tl.zeros((BLOCK_R, BLOCK_X), tl.float32)
    right_ones = tl.zeros((BLOCK_R, BLOCK_X), tl.float32)
    labelled = tl.zeros((BLOCK_R, BLOCK_X), tl.float32)
    stop = tl.load(row_start + row + 1)
    for first in range(tl.load(row_start + row), stop, BLOCK_R):
        y = first + tl.arange(0, BLOCK_R)
        inside = (y < stop)[:, None] & inside_x[None, :]
        pixel = y[:, None] * label_width + x[None, :]
        own, counted, weight, factor = _pixels(
            label, class_weight, pixel_weight, pixel, inside, classes, ignore_index,
            WEIGHTED, PIXELS,
        )  # fmt: skip
        upper = tl.load(row_weight + 2 * y, mask=y < stop, other=0.0)[:, None]
        lower = tl.load(row_weight + 2 * y + 1, mask=y < stop, other=0.0)[:, None]
        highest = tl.full((BLOCK_R, BLOCK_X), _LOWEST, tl.float32)
        total = tl.zeros((BLOCK_R, BLOCK_X), tl.float32)
        mean = tl.zeros((BLOCK_R, BLOCK_X), tl.float32)
        score = tl.full((BLOCK_R, BLOCK_X), float('nan'), tl.float32)
        for first_c in range(0, classes, UNROLL):
            for step in tl.static_range(UNROLL):
                c = first_c + step
                # The interpreter cannot combine a mask with a scalar.
                known = x < tl.where(c < classes, label_width, 0)
                at = c.to(tl.int64) * stride_c
                top = near * tl.load(above + at + left * stride_x, mask=known, other=0.0).to(
                    tl.float32
                ) + far * tl.load(above + at + right * stride_x, mask=known, other=0.0).to(
                    tl.float32
                )
                bottom = near * tl.load(below + at + left * stride_x, mask=known, other=0.0).to(
                    tl.float32
                ) + far * tl.load(below + at + right * stride_x, mask=known, other=0.0).to(
                    tl.float32
                )
                value = upper * top[None, :] + lower * bottom[None, :]
                score = tl.where(own == c, value, score)
                if SMOOTH:
                    mean += _share(class_weight, c, classes, smoothing, WEIGHTED) * value
                value = tl.where(c < classes, value, float('-inf'))
                if SIGMOID:
                    # Of the other classes, each of which is absent.
                    absent = tl.maximum(value, 0.0) + _log1p(tl.exp(-tl.abs(value)))
                    total += tl.where(own == c, 0.0, absent)
                    highest = tl.where(value > highest, value, highest)
                else:
                    difference = value - highest
                    scale = tl.exp(-tl.abs(difference))
                    # One exponential moves the sum to a larger logit, or adds a smaller one.
                    total = tl.where(difference > 0, total * scale + 1.0, total + scale)
                    highest = tl.where(difference > 0, value, highest)
        # Infinite logits have no softmax.
        total += highest - highest
        if SIGMOID:
            both = _log1p(tl.exp(-tl.abs(score)))
            loss = (total + weight * (tl.maximum(-score, 0.0) + both)) * factor
            weight = counted.to(tl.float32) * classes
        else:
            log_total = tl.log(total)
            own_factor = (1.0 - smoothing) * weight * factor
            loss = own_factor * (log_total - (score - highest))
            all_factor = own_factor
            if SMOOTH:
                loss += factor * (shares * (log_total + highest) - mean)
                all_factor += factor * shares
            if KEEP:
                tl.store(largest + pixel, highest, mask=inside)
                tl.store(spread + pixel, all_factor / total, mask=inside)
        losses += tl.where(counted, loss, 0.0)
        weights += tl.where(counted, weight, 0.0)
        # Not where the sum is NaN.
        right_ones += (counted & (score >= highest) & (total == total)).to(tl.float32)
        labelled += counted.to(tl.float32)
    programs = tl.num_programs(0) * tl.num_programs(1) * tl.num_programs(2)
    program = (tl.program_id(2) * tl.num_programs(0) + row) * tl.num_programs(1) + tile
    tl.store(partial + program, tl.sum(tl.sum(losses, axis=1), axis=0))
    tl.store(partial + programs + program, tl.sum(tl.sum(weights, axis=1), axis=0))
    tl.store(partial + 2 * programs + program, tl.sum(tl.sum(right_ones, axis=1), axis=0))
    tl.store(partial + 3 * programs + program, tl.sum(tl.sum(labelled, axis=1), axis=0))


@triton.jit
def finish(partial, total, divisor, correct, labelled, programs, BLOCK: tl.constexpr):
    """Add up what all programs found, in a fixed order and in double precision."""
    losses = tl.zeros((BLOCK,), tl.float64)
    weights = tl.zeros((BLOCK,), tl.float64)
    right_ones = tl.zeros((BLOCK,), tl.float64)
    pixels = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, programs, BLOCK):
        program = first + tl.arange(0, BLOCK)
        inside = program < programs
        losses += tl.load(partial + program, mask=inside, other=0.0)
        weights += tl.load(partial + programs + program, mask=inside, other=0.0)
        right_ones += tl.load(partial + 2 * programs + program, mask=inside, other=0.0)
        pixels += tl.load(partial + 3 * programs + program, mask=inside, other=0.0)
    tl.store(total, tl.sum(losses, axis=0).to(tl.float32))
    tl.store(divisor, tl.sum(weights, axis=0).to(tl.float32))
    tl.store(correct, tl.sum(right_ones, axis=0).to(tl.int64))
    tl.store(labelled, tl.sum(pixels, axis=0).to(tl.int64))


@triton.jit
def _small_row(logits, row, at, left, right, near, far, known, stride_y, stride_x):
    """Return a row of small logits, interpolated to columns of labels."""
    part = logits + row * stride_y + at
    first = tl.load(part + left * stride_x, mask=known, other=0.0).to(tl.float32)
    second = tl.load(part + right * stride_x, mask=known, other=0.0).to(tl.float32)
    return near * first + far * second


@triton.jit
def _sum_columns(
    values, column, column_weight, j, start, stop, first, most,
    BLOCK_C: tl.constexpr, BLOCK_J: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """Return weighted sums ``(BLOCK_C, BLOCK_J)`` of columns of labels from `first` on.

    Small column ``j`` sums up the columns `start` to `stop`, at most `most` of them, `TAPS` at a
    time; all three have `TAPS` equal entries for each small column.
    """
    total = tl.zeros((BLOCK_C, BLOCK_J), tl.float32)
    tap = tl.arange(0, BLOCK_J * TAPS) % TAPS
    for first_tap in range(0, most, TAPS):
        x = start + first_tap + tap
        left = tl.load(column + x, mask=x < stop, other=0)
        # The second weight where the small column is the one on the right.
        weight = tl.load(column_weight + 2 * x + (left < j).to(tl.int32), mask=x < stop, other=0.0)
        index = tl.where(x < stop, x - first, 0)
        part = tl.gather(values, tl.broadcast_to(index[None, :], (BLOCK_C, BLOCK_J * TAPS)), 1)
        part = tl.where((x < stop)[None, :], part * weight[None, :], 0.0)
        total += tl.sum(tl.reshape(part, (BLOCK_C, BLOCK_J, TAPS)), axis=2)
    return total


@triton.jit
def differentiate(
    logits, label, class_weight, pixel_weight, row_start, row_weight, column_start, column,
    column_weight, largest, spread, grad,
    stride_b, stride_c, stride_y, stride_x, grad_b, grad_c, grad_y, grad_x,
    classes, height, width, label_height, label_width, ignore_index, smoothing, rows, columns,
    tiles,
    SIGMOID: tl.constexpr, WEIGHTED: tl.constexpr, PIXELS: tl.constexpr, SMOOTH: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_J: tl.constexpr,
    TAPS: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a block of classes in `rows` x `columns` small positions.

    The program goes down the cells of rows that its positions touch. The share of a cell in the
    small row below is carried to the next cell.
    """
    tile, block = tl.program_id(1) % tiles, tl.program_id(1) // tiles
    image = tl.program_id(2).to(tl.int64)
    first_row, first_column = tl.program_id(0) * rows, tile * columns
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    j = first_column + tl.arange(0, BLOCK_J)
    last_column = tl.minimum(first_column + columns, width)
    image_pixels = image * label_height * label_width
    label += image_pixels
    pixel_weight += image_pixels
    largest += image_pixels
    spread += image_pixels
    logits += image * stride_b
    grad_at = grad + image * grad_b + c[:, None].to(tl.int64) * grad_c + j[None, :] * grad_x
    at = c[:, None].to(tl.int64) * stride_c
    share = tl.zeros((BLOCK_C,), tl.float32)
    if SMOOTH:
        share += _share(class_weight, c, classes, smoothing, WEIGHTED)

    start = tl.load(column_start + tl.maximum(first_column - 1, 0))
    stop = tl.load(column_start + tl.minimum(first_column + columns, width))
    start_row = tl.maximum(first_row - 1, 0)
    # Columns of labels that each small column touches, repeated for `_sum_columns`.
    touching = first_column + tl.arange(0, BLOCK_J * TAPS) // TAPS
    present = touching < width
    touched_start = tl.load(column_start + tl.maximum(touching - 1, 0), mask=present, other=0)
    touched_end = tl.load(column_start + touching + 1, mask=present, other=0)
    # Positions without a pixel have the gradient zero.
    for first in range(start, tl.maximum(stop, start + 1), BLOCK_X):
        x = first + tl.arange(0, BLOCK_X)
        inside = x < stop
        left, right, near, far = _neighbours(column, column_weight, x, inside, width)
        touched = tl.maximum(touched_start, first)
        touched_stop = tl.minimum(touched_end, first + BLOCK_X)
        most = tl.max(touched_stop - touched, axis=0)
        left, right, near, far = left[None, :], right[None, :], near[None, :], far[None, :]
        known = (c < classes)[:, None] & inside[None, :]
        top = _small_row(logits, start_row, at, left, right, near, far, known, stride_y, stride_x)
        carried = tl.zeros((BLOCK_C, BLOCK_X), tl.float32)
        for row in range(start_row, tl.minimum(first_row + rows, height)):
            below = tl.minimum(row + 1, height - 1)
            bottom = _small_row(
                logits, below, at, left, right, near, far, known, stride_y, stride_x
            )
            own_row = carried
            carried = tl.zeros((BLOCK_C, BLOCK_X), tl.float32)
            for y in range(tl.load(row_start + row), tl.load(row_start + row + 1)):
                upper = tl.load(row_weight + 2 * y)
                lower = tl.load(row_weight + 2 * y + 1)
                value = upper * top + lower * bottom
                pixel = y * label_width + x
                own, counted, weight, factor = _pixels(
                    label, class_weight, pixel_weight, pixel, inside, classes, ignore_index,
                    WEIGHTED, PIXELS,
                )  # fmt: skip
                is_own = own[None, :] == c[:, None]
                if SIGMOID:
                    small = tl.exp(-tl.abs(value))
                    probability = tl.where(value >= 0, 1.0, small) / (1.0 + small)
                    # sigmoid(v) - 1 without cancellation.
                    missing = -tl.where(value >= 0, small, 1.0) / (1.0 + small)
                    change = tl.where(is_own, weight[None, :] * missing, probability)
                    change *= factor[None, :]
                else:
                    highest = tl.load(largest + pixel, mask=inside, other=0.0)
                    per_sum = tl.load(spread + pixel, mask=inside, other=0.0)
                    own_factor = (1.0 - smoothing) * weight * factor
                    # Rounded in another way, a logit may exceed the largest one.
                    change = tl.exp(tl.minimum(value - highest[None, :], 0.0)) * per_sum[None, :]
                    change -= tl.where(is_own, own_factor[None, :], 0.0)
                    if SMOOTH:
                        change -= share[:, None] * factor[None, :]
                change = tl.where(counted[None, :], change, 0.0)
                own_row += upper * change
                carried += lower * change
            total = _sum_columns(
                own_row, column, column_weight, touching, touched, touched_stop, first, most,
                BLOCK_C, BLOCK_J, TAPS,
            )  # fmt: skip
            # Not the row above the first one, which another program writes.
            written = tl.where(row >= first_row, last_column, 0)
            before = tl.where(first > start, written, 0)
            mask = (c < classes)[:, None] & (j < before)[None, :]
            total += tl.load(grad_at + row * grad_y, mask=mask, other=0.0)
            mask = (c < classes)[:, None] & (j < written)[None, :]
            tl.store(grad_at + row * grad_y, total, mask=mask)
            top = bottom
        # The next block of columns adds to what this one wrote.
        tl.debug_barrier()
