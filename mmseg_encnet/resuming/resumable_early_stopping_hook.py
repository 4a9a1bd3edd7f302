"""Early stopping that continues where an interrupted run left off."""

from __future__ import annotations

from math import inf, isfinite, isnan

from mmengine.dist import broadcast_object_list
from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from mmseg_encnet.errors import UserError

_RULES = ('greater', 'less')
# Parts of the names of metrics, in lower case; a loss may also contain one of the others.
_LESS = ('loss',)
_GREATER = ('acc', 'auc', 'dice', 'fscore', 'iou', 'map', 'precision', 'recall', 'top')


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """The toolbox's ``EarlyStoppingHook`` with a state that checkpoints hold.

    - A resumed run stops at the same validation as an uninterrupted one. Resuming a run that has
      stopped ends at once, unless ``patience`` was increased.
    - A score improves if it is better than the best one by more than ``min_delta``. In the
      toolbox an equal score counts as better with ``min_delta=0``, and NaN does.
    - Every process takes the decision of the main one.
    - A metric that is not measured is an error.
    - A test does not build the training data.

    Args:
        monitor: Name of the metric, such as ``'mIoU'``; ``'loss'`` with a
            :class:`~mmseg_encnet.running.hooks.ValLossHook`.
        rule: ``'greater'`` or ``'less'``, what is better. By default it follows from the name:
            less for losses, greater for accuracies, IoU and the like.
        min_delta: Smallest improvement that counts, in the unit of the metric (mIoU: percent).
        patience: Number of validations in a row without improvement after which training stops.
        check_finite: Whether to stop at once if the metric becomes NaN or infinite. Otherwise such
            a score is no improvement.
        stopping_threshold: Stop at once if the metric is better than this.
        strict: Without effect, see above.

    Raises:
        UserError: An argument is out of range, or the rule does not follow from the name.
    """

    # Before the checkpoint is written, which holds the state.
    priority = 'LOW'

    def __init__(
        self,
        monitor: str,
        rule: str | None = None,
        min_delta: float = 0.1,
        strict: bool = False,
        check_finite: bool = True,
        patience: int = 5,
        stopping_threshold: float | None = None,
    ) -> None:
        if not isinstance(monitor, str) or not monitor:
            raise UserError(f'monitor must be the name of a metric, got {monitor!r}.')
        if rule is not None and rule not in _RULES:
            raise UserError(f'unknown rule {rule!r}; choose one of {", ".join(_RULES)}.')
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise UserError(f'patience must be a positive integer, got {patience!r}.')
        if not (_is_number(min_delta) and isfinite(min_delta) and min_delta >= 0):
            raise UserError(f'min_delta must be a non-negative number, got {min_delta!r}.')
        if stopping_threshold is not None and not _is_number(stopping_threshold):
            raise UserError(f'stopping_threshold must be a number, got {stopping_threshold!r}.')
        super().__init__(
            monitor, rule, min_delta, strict, check_finite, patience, stopping_threshold
        )
        self.min_delta = min_delta

    def _init_rule(self, monitor: str) -> str:
        name = monitor.lower()
        if any(part in name for part in _LESS):
            return 'less'
        if any(part in name for part in _GREATER):
            return 'greater'
        raise UserError(
            f'got monitor={monitor!r}, but it is unknown whether a larger {monitor} is better; set '
            "rule='greater' or rule='less'."
        )

    def before_run(self, runner) -> None:
        # The toolbox's check would build the training data for a test.
        pass

    def before_train(self, runner) -> None:
        """Restore the state of a resumed run.

        Raises:
            UserError: The training loop cannot stop early.
        """
        if not hasattr(runner.train_loop, 'stop_training'):
            raise UserError(
                f'{type(runner.train_loop).__name__} cannot stop early; remove the '
                'EarlyStoppingHook, or use IterBasedTrainLoop or EpochBasedTrainLoop.'
            )
        state = runner.message_hub.runtime_info.get(self._key) if runner._resume else None
        if not state:
            return
        self.best_score, self.wait_count = state['best_score'], state['wait_count']
        if state['reached'] or self.wait_count >= self.patience:
            runner.train_loop.stop_training = True
            remedy = '' if state['reached'] else '; increase patience to continue'
            runner.logger.info(
                f'The training had stopped early: {self.monitor} was {self.best_score:.4g} at best'
                f'{remedy}.'
            )

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Decide whether to stop.

        Raises:
            UserError: The metric was not measured.
        """
        if not isinstance(runner._train_loop, BaseLoop):
            # A validation without training.
            return
        metrics = metrics or {}
        if self.monitor not in metrics:
            raise UserError(
                f'got monitor={self.monitor!r} of {type(self).__name__}, but the validation '
                f'measures {", ".join(metrics) or "nothing"}; choose one of these.'
            )
        score = [float(metrics[self.monitor])]
        broadcast_object_list(score)
        stop, reason = self._check_stop_condition(score[0])
        runner.message_hub.update_info(
            self._key,
            dict(
                best_score=self.best_score,
                wait_count=self.wait_count,
                reached=stop and self.wait_count < self.patience,
            ),
        )
        if stop:
            runner.train_loop.stop_training = True
            runner.logger.info(f'Training stops early: {reason}')

    def _check_stop_condition(self, current_score: float) -> tuple[bool, str]:
        better = self.rule_map[self.rule]
        name, best = self.monitor, f'{self.best_score:.4g}'
        if not isfinite(current_score) and self.check_finite:
            return True, f'{name} became {current_score}; it was {best} at best.'
        if self.stopping_threshold is not None and better(current_score, self.stopping_threshold):
            self.best_score = current_score
            return (
                True,
                f'{name} reached {current_score:.4g} (threshold {self.stopping_threshold}).',
            )
        margin = self.min_delta if self.rule == 'greater' else -self.min_delta
        if not isnan(current_score) and better(current_score, self.best_score + margin):
            self.best_score, self.wait_count = current_score, 0
            return False, ''
        self.wait_count += 1
        if self.wait_count < self.patience:
            return False, ''
        best = 'no value was finite' if abs(self.best_score) == inf else f'the best is {best}'
        return True, f'{name} did not improve in {self.wait_count} validations; {best}.'

    @property
    def _key(self) -> str:
        return f'early_stopping_{self.monitor}'


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not isnan(value)
