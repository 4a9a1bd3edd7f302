"""Convert Pascal VOC 2012 with the labels of SBD."""

from mmseg_encnet.datasets.converters import command, voc12aug
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(voc12aug.CONVERTER)


if __name__ == '__main__':
    main()
