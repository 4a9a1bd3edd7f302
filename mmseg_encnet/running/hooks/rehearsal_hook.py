"""Find mistakes in schedule, losses, norms and validation before the first iteration."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmseg_encnet.models.parts import unwrapped
from mmseg_encnet.models.segmentors.windows import check_windows
from mmseg_encnet.resuming.random_states import states_kept
from mmseg_encnet.running.rehearsal.loops import check_schedule
from mmseg_encnet.running.rehearsal.losses import check_losses
from mmseg_encnet.running.rehearsal.norms import check_norms
from mmseg_encnet.running.rehearsal.validation import check_batches, rehearse_validation


class RehearsalHook(Hook):
    """Runs the checks of :mod:`mmseg_encnet.running.rehearsal`, in every process.

    Random states are restored, so training is the same as without the hook.
    """

    # Before hooks that take time, such as the CodebookInitHook.
    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        check_schedule(runner)
        with states_kept():
            check_windows(getattr(model, 'test_cfg', None))
            check_losses(model)
            check_norms(model, runner.train_dataloader)
            rehearse_validation(runner)
        _tell(runner)

    def before_test(self, runner) -> None:
        check_batches(runner.test_loop.dataloader, 'test')


def _tell(runner) -> None:
    """Log the seed and the scaling of the learning rate."""
    runner.logger.info(
        f'The seed of this run is {runner.seed}; set randomness.seed={runner.seed} to repeat it.'
    )
    scaling = runner.auto_scale_lr or {}
    if scaling.get('enable'):
        batch = runner.train_dataloader.batch_size * runner.world_size
        base = scaling['base_batch_size']
        runner.logger.info(
            f'auto_scale_lr is on: the learning rates of the config, which are for a batch of '
            f'{base}, are multiplied by {batch / base:g} for the batch of {batch}; set '
            'auto_scale_lr.enable=False to use them unchanged.'
        )
