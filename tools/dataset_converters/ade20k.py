"""Convert ADE20K."""

from mmseg_encnet.datasets.converters import ade20k, command
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(ade20k.CONVERTER)


if __name__ == '__main__':
    main()
