"""Write docs/model_zoo.md from configs/metafile.yml."""

import argparse
from pathlib import Path

from mmseg_encnet.workbench.model_zoo import write_page

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    page = ROOT / 'docs' / 'model_zoo.md'
    page.write_text(write_page(ROOT / 'configs' / 'metafile.yml'), encoding='utf-8')
    print(f'page: {page}')


if __name__ == '__main__':
    main()
