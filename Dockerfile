# A node of qnode. Two stages, so that the tools that installing may need stay behind.
FROM python:3.11-slim AS build

RUN python -m venv /opt/qnode
ENV PATH="/opt/qnode/bin:$PATH"
WORKDIR /source
COPY pyproject.toml README.md ./
COPY qnode ./qnode
RUN pip install --no-cache-dir . && pip uninstall --yes pip

FROM python:3.11-slim

# The search kernels are compiled at the first start and kept beside the code, so the user must be able to write there.
RUN useradd --system --uid 1000 --home-dir /qnode --create-home qnode && mkdir /qnode/storage && chown qnode /qnode/storage
COPY --from=build --chown=qnode /opt/qnode /opt/qnode
COPY --chown=qnode config /qnode/config

ENV PATH="/opt/qnode/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    QNODE__STORAGE__SNAPSHOTS_PATH=/qnode/storage/snapshots \
    RUN_MODE=production
USER qnode
WORKDIR /qnode
VOLUME /qnode/storage
# REST, and the port for the other nodes of a cluster.
EXPOSE 6333 6335

HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:6333/healthz', timeout=4)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["qnode"]
