"""Convert MSRC-21."""

from mmseg_encnet.datasets.converters import command, msrc21
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(msrc21.CONVERTER)


if __name__ == '__main__':
    main()
