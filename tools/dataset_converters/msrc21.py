"""Convert MSRC-21."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import command, msrc21


@exit_with_one_sentence
def main() -> None:
    command.run(msrc21.CONVERTER)


if __name__ == '__main__':
    main()
