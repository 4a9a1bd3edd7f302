"""Convert CamVid."""

from mmseg_encnet.datasets.converters import camvid, command
from mmseg_encnet.engine.explain import exit_with_one_sentence


@exit_with_one_sentence
def main() -> None:
    command.run(camvid.CONVERTER)


if __name__ == '__main__':
    main()
