"""The page of models, written from the metafile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mmseg_encnet.checkpoints.pytorch_encoding import BASE_URL, ENCNET_SHA1

_HEAD = """\
# Model zoo

Written by `python tools/analysis_tools/model_zoo.py` from `configs/metafile.yml`; edit that file.

Every figure here was published elsewhere, by the source in its row; none was measured with this
package. `ms+flip` is multi-scale evaluation with mirrored images; of the EncNets of
PyTorch-Encoding it is the one that `tools/test.py CONFIG CHECKPOINT --published-tta` repeats.

## Fetching and converting

"""
_WAYS = """\
- **PyTorch-Encoding**: `get_encnet(dataset, backbone, pretrained=True)` of `mmseg_encnet` downloads
  the weights, checks their published SHA-1, converts and keeps them. By hand: download the zip
  file, unpack it, and `python tools/model_converters/convert.py FILE.pth CONVERTED.pth`.
- **FastFCN**: its weights lie on Google Drive, which has no address for programs. Download the file
  in a browser, then `python tools/model_converters/convert.py FILE CONVERTED.pth`.
- **MMSegmentation**: download the file; it loads as it is. The converter accepts it too.
- ImageNet backbones come by themselves: configs name them as `pytorch-encoding://resnet50s`.

Then `python tools/test.py CONFIG CONVERTED.pth`. Weights are read as plain data; a file that could
run code is refused.
"""


def write_page(metafile: Path) -> str:
    """The page in Markdown, from a metafile of OpenMMLab's format."""
    models = yaml.safe_load(metafile.read_text())['Models']
    lines = [_HEAD + _WAYS]
    for collection in dict.fromkeys(model['In Collection'] for model in models):
        lines += [
            f'## {collection}',
            '',
            '| config | data | published | source | weights |',
            '|---|---|---|---|---|',
        ]
        lines += [_row(model) for model in models if model['In Collection'] == collection]
        lines.append('')
    return '\n'.join(lines).rstrip() + '\n'


def _row(model: dict[str, Any]) -> str:
    meta = model['Metadata']
    source = '-'
    if 'Published At' in meta:
        source = f'[{meta["Published By"]}]({meta["Published At"]})'
    return (
        f'| [{model["Name"]}](../{model["Config"]}) | {meta["Training Data"]} | '
        f'{"; ".join(_figures(model)) or "none"} | {source} | {_weights(model)} |'
    )


def _figures(model: dict[str, Any]) -> Iterator[str]:
    for result in model.get('Results', []):
        metrics = ', '.join(
            f'{name.removeprefix("published ")} {value}'
            for name, value in result['Metrics'].items()
        )
        yield f'{metrics} ({result["Dataset"]})'


def _weights(model: dict[str, Any]) -> str:
    url = model.get('Weights')
    if url is None:
        return '-'
    if not url.startswith(BASE_URL):
        return f'[download]({url})'
    name = Path(url).stem.rpartition('-')[0]
    return f'[download]({url}), SHA-1 of the `.pth` `{ENCNET_SHA1[name]}`'
