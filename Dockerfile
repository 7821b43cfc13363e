# Two stages on one base: the builder makes a virtual environment, the image takes that and nothing else, no pip, no uv.
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag outbox-relay .
# The environment's python is a link into the base, so both stages must have the same one.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS builder
WORKDIR /build
# The system's certificates, as pip takes them: behind a company's proxy a base with its authority is enough.
ENV UV_SYSTEM_CERTS=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never PIP_NO_CACHE_DIR=1

# uv and hatchling come from the lock as well: version and hash stand in one place.
COPY requirements-dev.txt ./
RUN awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements-dev.txt > uv.txt \
 && python3 -m venv tools \
 && tools/bin/pip install --disable-pip-version-check --quiet --require-hashes --requirement uv.txt \
 && tools/bin/uv pip install --python tools --verify-hashes --constraint requirements-dev.txt hatchling

# The dependencies change seldom and have a layer of their own.
COPY requirements.txt ./
RUN tools/bin/uv venv --python python3 /opt/relay \
 && tools/bin/uv pip install --python /opt/relay --require-hashes --requirement requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY relay relay
COPY sql sql
RUN tools/bin/python -m hatchling build --target wheel --directory dist \
 && tools/bin/uv pip install --python /opt/relay --no-deps dist/*.whl

FROM ${BASE}
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="outbox-relay" \
      org.opencontainers.image.description="Carries committed outbox rows from Postgres to RabbitMQ, each one at least once." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"

COPY --from=builder /opt/relay /opt/relay
# The root file system may be read-only: nothing is written, neither bytecode nor a home.
ENV PATH=/opt/relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# A number, not a name: Kubernetes' runAsNonRoot can check it, and no line in /etc/passwd is needed.
USER 10001:10001
WORKDIR /tmp
EXPOSE 9464
# The relay handles SIGTERM itself and starts no children, so it needs no init in front of it.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["relay", "healthcheck"]
ENTRYPOINT ["relay"]
CMD ["run"]
