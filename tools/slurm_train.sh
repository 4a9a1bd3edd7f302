#!/usr/bin/env bash
# Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [ARGS of tools/train.py]
# SIGUSR1, SIGNAL_SECONDS (120) ahead of the time limit, ends the training with a checkpoint. It then
# continues: in a batch job after scontrol requeue, otherwise in a new allocation. A batch job has to
# ask for the signal itself: sbatch --requeue --signal=USR1@120.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }

here=$(dirname "$0")
export MMSEG_ENCNET_STOP_SECONDS=${MMSEG_ENCNET_STOP_SECONDS:-$((${SIGNAL_SECONDS:-120} * 3 / 4))}
# The status of tools/train.py after SIGUSR1.
preempted=138
resume=()
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    resume=(--resume)
fi
while :; do
    SRUN_ARGS="--signal=USR1@${SIGNAL_SECONDS:-120} ${SRUN_ARGS:-}" \
        "$here/slurm.sh" "$1" "$2" "$here/train.py" "$3" "${resume[@]}" "${@:4}" &
    srun=$!
    # sbatch --signal=B:USR1 reaches this script alone. A background process ignores SIGINT.
    trap 'kill -USR1 $srun' USR1
    trap 'kill -TERM $srun' TERM INT HUP
    while kill -0 "$srun" 2>/dev/null; do
        wait "$srun" || true
    done
    status=0
    wait "$srun" || status=$?
    trap - USR1 TERM INT HUP
    [ "$status" -eq "$preempted" ] || exit "$status"
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        exec scontrol requeue "$SLURM_JOB_ID"
    fi
    resume=(--resume)
done
