# docker build --tag mmseg-encnet .
# docker run --rm --gpus all --shm-size 8g --volume "$PWD/data:/opt/mmseg-encnet/data" mmseg-encnet \
#     tools/dist_train.sh configs/encnet_r50_pcontext.py 8
FROM python:3.13-slim

# OpenCV links to libGL and GLib; the kernels need a compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mmseg-encnet
ARG TORCH=torch==2.13.0
ARG EXTRAS=toolbox,lite
RUN pip install --no-cache-dir "$TORCH"
COPY . .
RUN pip install --no-cache-dir ".[$EXTRAS]"

# Files written to mounted folders should not belong to root.
RUN useradd --create-home encnet && mkdir -p work_dirs && chown encnet work_dirs
USER encnet
