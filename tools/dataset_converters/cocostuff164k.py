"""Convert COCO-Stuff 164k."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import cocostuff164k, command


@exit_with_one_sentence
def main() -> None:
    command.run(cocostuff164k.CONVERTER)


if __name__ == '__main__':
    main()
