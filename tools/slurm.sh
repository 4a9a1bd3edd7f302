#!/usr/bin/env bash
# Usage: tools/slurm.sh PARTITION JOB_NAME SCRIPT [ARGS...]
# Run a tool under Slurm with one process per GPU: GPUS (8) in total, GPUS_PER_NODE (8, or GPUS if
# fewer) on each node, with CPUS_PER_TASK (5) cores each. SRUN_ARGS are passed to srun.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}

# SRUN_ARGS is meant to be split into words.
# shellcheck disable=SC2086
exec srun -p "$1" \
    --job-name="$2" \
    --gres=gpu:"$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$3" "${@:4}" --launcher slurm
