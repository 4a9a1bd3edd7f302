#!/usr/bin/env bash
# Usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGS of tools/test.py]
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
exec "$here/slurm.sh" "$1" "$2" "$here/test.py" "${@:3}"
