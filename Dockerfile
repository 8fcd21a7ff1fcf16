# syntax=docker/dockerfile:1
# The handlers are the last stage: `docker build .` makes their image. The stages `hasura` and `sandbox`
# exist for compose.yaml alone and never reach it.
FROM python:3.12.12-slim-bookworm AS python
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH="/venv/bin:$PATH"
WORKDIR /srv

FROM python AS dependencies
COPY scripts/lock/runtime.txt .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
        -r runtime.txt \
    && /venv/bin/pip uninstall --yes --quiet pip \
    && python -m compileall -q /venv

# Stand-ins of what is not ours: Diva's notification service, an edge, and the merging of the metadata.
FROM python AS sandbox
COPY --from=dependencies /venv /venv
COPY leads leads
COPY sandbox sandbox
COPY hasura hasura
COPY sql sql
RUN python -m sandbox.merge_metadata /merged-metadata hasura/metadata sandbox/diva/metadata
USER 10001:10001

# The engine with our migrations and both metadata: it applies the metadata first, then the migrations.
FROM hasura/graphql-engine:v2.48.5.cli-migrations-v3 AS hasura
COPY --from=sandbox /merged-metadata /hasura-metadata
COPY hasura/migrations /hasura-migrations

FROM python AS handlers
ARG VERSION=unknown
ARG COMMIT=unknown
ENV VERSION=$VERSION COMMIT=$COMMIT
COPY --from=dependencies /venv /venv
COPY app.py ./
COPY leads leads
COPY handlers handlers
COPY cron cron
COPY sql sql
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["uvicorn", "app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8080", "--no-access-log"]
