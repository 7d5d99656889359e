# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/mrproxy
COPY pyproject.toml README.md LICENSE ./
COPY mrproxy ./mrproxy
RUN /opt/mrproxy/bin/pip install --no-cache-dir .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="mrproxy" \
      org.opencontainers.image.description="One URL in front of many LLM inference servers" \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed id, so that a volume's owner can be set from outside.
RUN useradd --system --uid 10001 --create-home --home-dir /data mrproxy
COPY --from=build /opt/mrproxy /opt/mrproxy
ENV PATH=/opt/mrproxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MRPROXY_HOST=0.0.0.0 \
    MRPROXY_DATA_DIR=/data
USER mrproxy
WORKDIR /data
VOLUME /data
EXPOSE 8000
# SIGTERM drains for drain_seconds (30): give `docker stop --time` and Kubernetes' grace period at least that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["mrproxy"]
CMD ["serve"]
