"""Convert COCO-Stuff 164k."""

from mmseg_encnet.datasets.converters import cocostuff164k, command
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(cocostuff164k.CONVERTER)


if __name__ == '__main__':
    main()
