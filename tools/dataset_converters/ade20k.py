"""Convert ADE20K."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import ade20k, command


@exit_with_one_sentence
def main() -> None:
    command.run(ade20k.CONVERTER)


if __name__ == '__main__':
    main()
