"""Convert COCO with the 21 classes of VOC."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import coco21, command


@exit_with_one_sentence
def main() -> None:
    command.run(coco21.CONVERTER)


if __name__ == '__main__':
    main()
