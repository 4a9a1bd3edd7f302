#!/usr/bin/env bash
# Usage: tools/analysis_tools/gpu_report.sh [OUT_DIR]
# Run all tests and benchmarks that need a GPU, and write a page to OUT_DIR/report.md (default:
# work_dirs/gpu_report), with measurements as JSON and figures. Takes at most ten minutes, or
# GPU_REPORT_SECONDS: what does not fit is stopped or omitted, and the page says so.
set -uo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python}
out=${1:-work_dirs/gpu_report}
# A part of the time is for starting, ending and writing.
budget=$((${GPU_REPORT_SECONDS:-600} - 15))
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo 'error: PyTorch finds no GPU; run this on a machine where nvidia-smi lists one.' >&2
    exit 2
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
tools=$root/tools/analysis_tools
failed=0
: > "$out/incomplete.txt"
# A former run may have written more.
rm -f "$out"/*.md "$out"/*.png

run() {  # run NAME SECONDS COMMAND...: neither a failure nor a time-out stops the others
    local name=$1 limit=$2 left=$((budget - SECONDS)) status
    shift 2
    if [ "$left" -lt 1 ]; then
        echo "- $name: omitted, no time was left." >> "$out/incomplete.txt"
        failed=1
        return
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    echo "$name (at most $limit s)"
    # Interrupted, pytest still lists the failures.
    timeout -s INT -k 5 "$limit" "$@" > "$out/$name.txt" 2>&1
    status=$?
    [ "$status" -eq 0 ] && return
    failed=1
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        echo "- $name: stopped after $limit s." >> "$out/incomplete.txt"
    else
        echo "- $name: failed with exit status $status; see $name.txt." >> "$out/incomplete.txt"
    fi
}

benchmark() {  # benchmark NAME SECONDS TOOL ARGUMENTS...
    local name=$1 limit=$2 tool=$3
    shift 3
    run "$name" "$limit" "$python" "$tools/$tool.py" --device cuda "$@" \
        --json "$out/$name.json" --markdown "$out/$name.md" --plot "$out/$name.png"
}

# The most telling first. One process per head and task; every one takes seconds to start.
capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
model=(benchmark_model --rounds 1 --steps 10)
benchmark encode 110 benchmark_encode --rounds 5
benchmark loss 50 benchmark_loss --rounds 5
benchmark r50 130 "${model[@]}" --config encnet_r50_ade20k
cd "$root" || exit 1
parallel=()
if "$python" -c 'import xdist' 2> /dev/null; then parallel=(-n 4); fi
run tests 150 "$python" -m pytest "${parallel[@]}" -m cuda -ra -q --continue-on-collection-errors
benchmark r50_jpu 130 "${model[@]}" --config encnet_r50_jpu_ade20k
run kernels 50 "$python" "$tools/kernel_report.py" --architectures "$capability" --jobs 8 \
    --only-defaults --json "$out/kernels.json" --markdown "$out/kernels.md"
benchmark r50_amp 130 "${model[@]}" --config encnet_r50_ade20k --amp float16

section() {  # section NAME TITLE
    printf '\n## %s\n\n' "$2"
    cat "$out/$1.md" 2>/dev/null || echo "Not finished; see $1.txt."
    [ -f "$out/$1.png" ] && printf '\n![%s](%s.png)\n' "$1" "$1"
}

{
    echo '# GPU report'
    echo
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    printf '\n%d s in all.\n' "$SECONDS"
    printf '\n## Incomplete\n\n'
    if [ -s "$out/incomplete.txt" ]; then cat "$out/incomplete.txt"; else echo 'Nothing.'; fi
    section encode 'The encoding: kernels, mmseg, torch.compile and the roofline'
    section loss "The loss: kernels, strips of PyTorch's functions, and resized logits"
    section r50 'EncNet R50 with dilation: time, memory against the plan, synchronisations'
    section r50_jpu 'EncNet R50 with JPU'
    section r50_amp 'EncNet R50 in float16'
    section kernels 'Compiled kernels and predicted times'
    printf '\n## Tests\n\n```\n'
    tail -n 30 "$out/tests.txt" 2>/dev/null || echo 'omitted'
    echo '```'
} > "$out/report.md"
echo "report: $out/report.md"
exit "$failed"
