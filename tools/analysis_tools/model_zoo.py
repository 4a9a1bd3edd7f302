"""Write docs/model_zoo.md from configs/metafile.yml."""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.program import program

ROOT = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    return argparse.ArgumentParser(description=__doc__).parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.model_zoo import write_page

    page = ROOT / 'docs' / 'model_zoo.md'
    page.write_text(write_page(ROOT / 'configs' / 'metafile.yml'), encoding='utf-8')
    print(f'page: {page}')


if __name__ == '__main__':
    main()
