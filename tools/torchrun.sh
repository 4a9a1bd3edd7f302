#!/usr/bin/env bash
# Usage: tools/torchrun.sh SCRIPT PROCESSES [ARGS...]
# Start PROCESSES copies of a tool on this node, one for each GPU. Several nodes: run the same
# command on each with NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    "$1" "${@:3}" --launcher pytorch
