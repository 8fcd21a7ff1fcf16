# syntax=docker/dockerfile:1
# The last stage is the image of the handlers: `docker build .` makes it. `ops` is that of the operators' command; the
# stages `hasura` and `sandbox` serve compose.yaml only.
FROM python:3.12.14-slim-bookworm AS python
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH="/venv/bin:$PATH"
WORKDIR /srv

FROM python AS dependencies
COPY scripts/lock/runtime.txt .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
        -r runtime.txt \
    && /venv/bin/pip uninstall --yes --quiet pip \
    && python -m compileall -q /venv

# The project as a wheel. Its build backend is locked too and stays out of the image.
FROM python AS wheel
COPY scripts/lock/build.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r build.txt
COPY pyproject.toml LICENSE app.py ./
COPY cron cron
COPY handlers handlers
COPY hasura/metadata hasura/metadata
COPY leads leads
COPY ops ops
COPY sql sql
RUN pip wheel --disable-pip-version-check --no-index --no-build-isolation --no-deps --wheel-dir /wheels .

# A separate layer: a change of the code leaves the large layer with the dependencies as it is.
FROM python AS project
COPY --from=dependencies /venv /venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-index --no-deps --compile \
        /wheels/*.whl

# The operators' command: `docker build --target ops .`
FROM project AS ops
RUN --mount=type=bind,source=scripts/lock/ops.txt,target=ops.txt \
    pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: --compile -r ops.txt
USER 10001:10001
ENTRYPOINT ["leads"]

# Stand-ins for external services (Pancake, Diva's notification service), the program that stores the sandbox's
# connection, and Diva's project of the Hasura CLI with our part in it.
FROM ops AS sandbox
USER 0:0
ENTRYPOINT []
COPY sandbox sandbox
COPY hasura hasura
COPY deploy/postgres deploy/postgres
RUN mkdir /project && cp -r sandbox/diva/config.yaml sandbox/diva/metadata /project \
    && leads metadata merge --into /project --metadata hasura/metadata
USER 10001:10001

# The version of the engine stands here only; tests/deploy/test_engine.py compares what else names it. It is the
# newest known patch of the line 2.50. Never 2.48 (CVE-2026-54698), nor 2.49.0 to 2.49.2 (cli-migrations fails on a fresh
# database with event triggers).
FROM hasura/graphql-engine:v2.50.6.cli-migrations-v3 AS engine

# Hasura with that project: it applies the metadata first, then the migrations.
FROM engine AS hasura
COPY --from=sandbox /project/metadata /hasura-metadata
COPY --from=sandbox /project/migrations /hasura-migrations

FROM project AS handlers
ARG VERSION=unknown
ARG COMMIT=unknown
# 0.0.0.0, so that the port can be published; `pancake-handlers` alone listens on the loopback interface. Do not publish the
# second port: /readyz and /metrics ask for no secret.
ENV VERSION=$VERSION COMMIT=$COMMIT BIND=0.0.0.0:8080 OPS_BIND=0.0.0.0:9146
USER 10001:10001
EXPOSE 8080 9146
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["pancake-handlers"]
