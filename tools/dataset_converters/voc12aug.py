"""Convert Pascal VOC 2012 with the labels of SBD."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import command, voc12aug


@exit_with_one_sentence
def main() -> None:
    command.run(voc12aug.CONVERTER)


if __name__ == '__main__':
    main()
