"""Convert Clothing Co-Parsing."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import clothing, command


@exit_with_one_sentence
def main() -> None:
    command.run(clothing.CONVERTER)


if __name__ == '__main__':
    main()
