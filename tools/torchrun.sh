#!/usr/bin/env bash
# Usage: tools/torchrun.sh SCRIPT PROCESSES [ARGS...]
# Start PROCESSES copies of a tool on this node, one for each GPU. For several nodes, run the same
# command on each with NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment.
#
# With MAX_RESTARTS=N above 0 the job is elastic. The nodes meet at RDZV_ENDPOINT (HOST:PORT on the
# node with NODE_RANK=0; default: MASTER_ADDR:PORT). After a failure, including that of a whole other
# node, the processes restart up to N times, as soon as NNODES nodes have joined: run the command
# again on the missing node. NNODES may be a range MIN:MAX. The job ends with the node of
# RDZV_ENDPOINT. NODE_ADDR is this node's address, if the others cannot resolve its host name.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,10s/^#$//p; 2,10s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
endpoint=${MASTER_ADDR:-127.0.0.1}:${PORT:-29500}
if [ "${MAX_RESTARTS:-0}" -gt 0 ]; then
    # torchrun announces the address of a shared store in the first round only, so a node that joins
    # later would wait for it forever.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    # Without NODE_RANK, torchrun compares host names to find out whether this node is the endpoint.
    rendezvous=(
        --rdzv_backend=c10d
        --rdzv_endpoint="${RDZV_ENDPOINT:-$endpoint}"
        --rdzv_id=mmseg-encnet
        ${NODE_RANK:+--rdzv_conf=is_host=$((NODE_RANK == 0))}
        ${NODE_ADDR:+--local_addr="$NODE_ADDR"}
        --max_restarts="$MAX_RESTARTS")
else
    rendezvous=(
        --node_rank="${NODE_RANK:-0}"
        --master_addr="${endpoint%:*}"
        --master_port="${endpoint##*:}")
fi

exec "${PYTHON:-python}" "$here/torchrun.py" \
    --nnodes="${NNODES:-1}" \
    "${rendezvous[@]}" \
    --nproc_per_node="$2" \
    "$1" "${@:3}" --launcher pytorch
