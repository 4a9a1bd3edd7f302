"""Convert CamVid."""

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.converters import camvid, command


@exit_with_one_sentence
def main() -> None:
    command.run(camvid.CONVERTER)


if __name__ == '__main__':
    main()
