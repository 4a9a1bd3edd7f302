"""Convert Pascal Context."""

from mmseg_encnet.datasets.converters import command, pascal_context
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(pascal_context.CONVERTER)


if __name__ == '__main__':
    main()
