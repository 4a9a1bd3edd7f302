"""How well presence can be estimated, and what estimates add to the scores.

    python studies/analyses/presence_sources.py DATA_ROOT

prints the tables of the section "Presence as an input" of docs/study.md, for the network that ships
as encnet_lite0_clothing. It needs the extras toolbox, lite and analysis, and takes a minute.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mmseg_encnet import get_encnet
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.evaluation.metrics.presence_metric import average_precision
from mmseg_encnet.ops import presence_targets
from mmseg_encnet.workbench.reporting.confusion import class_iou, count_pixels

FACTORS = (0, 0.125, 0.25, 0.5, 1)
THRESHOLDS = (0.005, 0.01, 0.02, 0.05)
# Of a class that is not considered.
_ABSENT = -1e4


@torch.no_grad()
def predict(data_root: str) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Return the small scores ``(C, h, w)``, presence logits ``(B, C)`` and labels ``(H, W)``."""
    cfg = load_config('encnet_lite0_clothing', {'val_dataloader.dataset.data_root': data_root})
    model = get_encnet('clothing', 'lite0', pretrained=True).eval()
    scores, presence, labels = [], [], []
    for batch in Runner.build_dataloader(cfg.val_dataloader, seed=0):
        data = model.data_preprocessor(batch, training=False)
        output = model.decode_head.forward_context(model.extract_feat(data['inputs']))
        scores.append(output.seg_logits[0])
        presence.append(output.se_logits[0])
        labels.append(data['data_samples'][0].gt_sem_seg.data[0, ::2, ::2])
    return scores, torch.stack(presence), labels


def mean_iou(scores: list[Tensor], labels: list[Tensor], added: np.ndarray) -> float:
    """Return the mIoU in percent with `added` ``(B, C)`` to the scores of each image's classes."""
    classes = len(scores[0])
    counts = np.zeros((classes, classes), np.int64)
    shifts = torch.from_numpy(added.astype(np.float32))[..., None, None]
    for score, label, shift in zip(scores, labels, shifts):
        resized = F.interpolate(score[None], size=label.shape, mode='bilinear', align_corners=True)
        predicted = (resized[0] + shift).argmax(0)
        counts += count_pixels(label, predicted, classes)
    return 100 * float(np.nanmean(class_iou(counts)))


def main(data_root: str) -> None:
    scores, se_logits, labels = predict(data_root)
    classes = se_logits.shape[1]
    present = torch.cat([presence_targets(v[None], classes) for v in labels]).numpy() > 0
    estimates = {
        'SE branch': se_logits.numpy(),
        'mean probability': np.stack([v.softmax(0).mean((1, 2)).log().numpy() for v in scores]),
        'largest log-probability': np.stack(
            [v.log_softmax(0).amax((1, 2)).numpy() for v in scores]
        ),
    }
    sources = np.stack(list(estimates.values()), axis=-1)
    regression = np.empty(present.shape)
    halves = np.arange(len(present)) % 2
    for half in range(2):
        fitted, other = halves == half, halves != half
        model = LogisticRegression().fit(sources[fitted].reshape(-1, 3), present[fitted].ravel())
        regression[other] = model.decision_function(sources[other].reshape(-1, 3)).reshape(
            regression[other].shape
        )
    estimates['regression'] = regression
    for name, estimate in estimates.items():
        precision = np.nanmean(average_precision(estimate, present))
        print(f'mean average precision of {name}: {100 * precision:.1f}')

    print(f'given presence: {mean_iou(scores, labels, _ABSENT * ~present):.1f}')
    for name in ('SE branch', 'regression'):
        probability = 1 / (1 + np.exp(-estimates[name]))
        for factor in FACTORS:
            value = mean_iou(scores, labels, factor * np.log(probability))
            print(f'{name}, {factor} times its log-probability added: {value:.2f}')
        for threshold in THRESHOLDS:
            value = mean_iou(scores, labels, _ABSENT * (probability < threshold))
            print(f'{name}, classes below {threshold} suppressed: {value:.2f}')


if __name__ == '__main__':
    main(*sys.argv[1:])
