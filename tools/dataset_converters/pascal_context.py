"""Convert Pascal Context."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import command, pascal_context


@exit_with_one_sentence
def main() -> None:
    command.run(pascal_context.CONVERTER)


if __name__ == '__main__':
    main()
