#!/usr/bin/env bash
# Usage: tools/analysis_tools/gpu_report.sh [OUT_DIR]
# Run all tests and benchmarks that need a GPU, and write a report to OUT_DIR/report.md (default:
# work_dirs/gpu_report), with measurements as JSON and figures. Takes about ten minutes.
set -uo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python}
out=${1:-work_dirs/gpu_report}
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo 'error: PyTorch finds no GPU; run this on a machine where nvidia-smi lists one.' >&2
    exit 2
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
tools=$root/tools/analysis_tools
failed=0

run() {  # run LOG COMMAND...: a failure does not stop the others
    local log=$out/$1
    shift
    "$@" 2>&1 | tee "$log" || { failed=1; echo "FAILED: $*" >> "$log"; }
}

# The predicted times of the kernels, to compare with those that benchmark_encode measures.
capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
run kernels.txt "$python" "$tools/kernel_report.py" --architectures "$capability" --jobs 8 \
    --json "$out/kernels.json" --markdown "$out/kernels.md"
(cd "$root" && run tests.txt "$python" -m pytest -m cuda -ra) || failed=1
for name in encode loss model; do
    run "$name.txt" "$python" "$tools/benchmark_$name.py" --device cuda \
        --json "$out/$name.json" --markdown "$out/$name.md" --plot "$out/$name.png"
done
{
    echo '# GPU report'
    echo
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    echo
    echo '## Tests'
    echo
    echo '```'
    tail -n 30 "$out/tests.txt"
    echo '```'
    printf '\n## Compiled kernels and predicted times\n\n'
    cat "$out/kernels.md" 2>/dev/null || echo 'failed, see kernels.txt'
    for name in encode loss model; do
        printf '\n## benchmark_%s\n\n' "$name"
        cat "$out/$name.md" 2>/dev/null || echo "failed, see $name.txt"
        [ -f "$out/$name.png" ] && printf '\n![%s](%s.png)\n' "$name" "$name"
    done
} > "$out/report.md"
echo "report: $out/report.md"
exit "$failed"
