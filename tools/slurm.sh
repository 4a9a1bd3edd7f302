#!/usr/bin/env bash
# Usage: tools/slurm.sh PARTITION JOB_NAME SCRIPT [ARGS...]
# Run a tool under Slurm, one process for each of GPUS (8), GPUS_PER_NODE (8) to a node, with
# CPUS_PER_TASK (5) cores each; SRUN_ARGS go to srun.
set -euo pipefail

# SRUN_ARGS is a list of words on purpose.
# shellcheck disable=SC2086
exec srun -p "$1" \
    --job-name="$2" \
    --gres=gpu:"${GPUS_PER_NODE:-8}" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$3" "${@:4}" --launcher slurm
