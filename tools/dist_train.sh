#!/usr/bin/env bash
# Usage: tools/dist_train.sh CONFIG GPUS [ARGS of tools/train.py]
# Without GPUs, GPUS is the number of processes, which communicate over gloo.
# Several nodes: NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 PORT=29500, NODE_RANK=1 on the other node.
# MAX_RESTARTS=N restarts a failed job from its last checkpoint, up to N times; all nodes must share
# the work dir. See tools/torchrun.sh for details.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
resume=()
if [ "${MAX_RESTARTS:-0}" -gt 0 ]; then
    resume=(--resume)
fi
exec "$here/torchrun.sh" "$here/train.py" "$2" "$1" "${resume[@]}" "${@:3}"
