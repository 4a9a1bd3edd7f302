#!/usr/bin/env bash
# Usage: tools/dist_train.sh CONFIG GPUS [ARGS of tools/train.py]
# Without GPUs, GPUS is the number of processes; they talk over gloo.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
exec "$here/torchrun.sh" "$here/train.py" "$2" "$1" "${@:3}"
