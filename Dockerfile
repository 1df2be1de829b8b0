# The service as a container. It runs without root, writes to /tmp alone, and listens on port 3000.
#
#   docker build --tag modelyard .                             CPU
#   docker build --tag modelyard:gpu --build-arg RUNTIME=gpu . CUDA and cuDNN as wheels; run it with --gpus all
#   docker run --read-only --tmpfs /tmp --publish 127.0.0.1:3000:3000 modelyard
#
# `docker stop` needs --time 40: 5 seconds in which /readyz fails and all else is answered, and up to 30 to finish.
# Other models: --volume "$PWD/runs/models:/models:ro" --env MODELYARD_MODELS=/models

ARG BASE=docker.io/library/python:3.11-slim

FROM ${BASE} AS build
ARG RUNTIME=cpu
WORKDIR /build
COPY requirements.txt ./
# The GPU build of ONNX Runtime runs on the CPU too, but is several times as large as the plain one.
RUN case "${RUNTIME}" in \
        cpu) edit='s/^onnxruntime-gpu==/onnxruntime==/' ;; \
        gpu) edit='s/^onnxruntime-gpu==/onnxruntime-gpu[cuda,cudnn]==/' ;; \
        *) echo "RUNTIME: '${RUNTIME}' is none of cpu, gpu" >&2; exit 1 ;; \
    esac && sed --in-place "${edit}" requirements.txt
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/modelyard \
    && python -m pip --python /opt/modelyard/bin/python install --quiet --no-cache-dir \
        --constraint constraints.txt --requirement requirements.txt
WORKDIR /app
COPY models/ models/
COPY service/ service/
# Compiled here, since a read-only container cannot.
RUN python -m compileall -q /app

FROM ${BASE}
COPY --from=build /opt/modelyard /opt/modelyard
COPY --from=build /app /app
WORKDIR /app
# BENTOML_HOME holds BentoML's settings and the counters that its workers share.
ENV PATH=/opt/modelyard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    MODELYARD_DRAIN_SECONDS=5
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
CMD ["bentoml", "serve", "service.app:ModelService", "--host", "0.0.0.0", "--port", "3000"]
