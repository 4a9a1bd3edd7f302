"""Convert COCO with the 21 classes of VOC."""

from mmseg_encnet.datasets.converters import coco21, command
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(coco21.CONVERTER)


if __name__ == '__main__':
    main()
