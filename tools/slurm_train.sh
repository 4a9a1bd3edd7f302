#!/usr/bin/env bash
# Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [ARGS of tools/train.py]
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
exec "$here/slurm.sh" "$1" "$2" "$here/train.py" "${@:3}"
