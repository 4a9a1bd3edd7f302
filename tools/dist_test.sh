#!/usr/bin/env bash
# Usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [ARGS of tools/test.py]
# Without GPUs, GPUS is the number of processes, which communicate over gloo.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
exec "$here/torchrun.sh" "$here/test.py" "$3" "$1" "$2" "${@:4}"
