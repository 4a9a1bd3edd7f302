"""Convert images and labels of your own."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters.own import command


@exit_with_one_sentence
def main() -> None:
    command.run()


if __name__ == '__main__':
    main()
