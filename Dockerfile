# syntax=docker/dockerfile:1
# Debian with its own Python. The last stage is the image of the handlers: `docker build .` makes it. `ops` is that of
# the operators' command; the stages `hasura` and `sandbox` serve compose.yaml only. docs/cli.md has how to build behind
# a private certificate authority.
ARG DEBIAN=debian:13.8-slim
FROM ${DEBIAN} AS python
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PATH="/venv/bin:$PATH"
# No package versions: Debian's archive drops a version when a security update replaces it. The base image fixes the
# release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 tzdata \
    && rm -rf /var/lib/apt/lists/*

# pip and the project's build backend, which stay out of the images.
FROM python AS build
ARG PIP_CERT
ARG PIP_INDEX_URL
WORKDIR /build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/lock/build.txt .
RUN --mount=type=secret,id=ca \
    python3 -m venv /pip \
    && /pip/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r build.txt

FROM build AS dependencies
ARG PIP_CERT
ARG PIP_INDEX_URL
COPY scripts/lock/runtime.txt .
RUN --mount=type=secret,id=ca \
    python3 -m venv --without-pip /venv \
    && /pip/bin/pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: --compile -r runtime.txt

FROM dependencies AS ops-dependencies
ARG PIP_CERT
ARG PIP_INDEX_URL
COPY scripts/lock/ops.txt .
RUN --mount=type=secret,id=ca \
    /pip/bin/pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: --compile -r ops.txt

# What the tests need, with the Python of the images: scripts/images runs `scripts/test --fast` of the clone in it.
FROM ops-dependencies AS tests
ARG PIP_CERT
ARG PIP_INDEX_URL
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/lock/dev.txt .
RUN --mount=type=secret,id=ca \
    /pip/bin/pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: -r dev.txt

# The project as a wheel (the server, the operators' command, and the files that its verbs read), and what it adds to /venv.
# Images get that by COPY, which compares contents: buildah takes a layer of RUN again though a bound stage has changed.
FROM dependencies AS project
COPY pyproject.toml LICENSE CHANGELOG.md README.md app.py ./
COPY cron cron
COPY deploy/alertmanager deploy/alertmanager
COPY deploy/postgres deploy/postgres
COPY deploy/prometheus deploy/prometheus
COPY docs docs
COPY handlers handlers
COPY hasura/metadata hasura/metadata
COPY hasura/migrations hasura/migrations
COPY leads leads
COPY ops ops
COPY sql sql
RUN /pip/bin/pip wheel --disable-pip-version-check --no-index --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /pip/bin/pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-index --no-deps \
        --compile --root /project /wheels/*.whl

# The operators' command: `docker build --target ops .`
FROM python AS ops
ARG VERSION=unknown
ARG COMMIT=unknown
# www-data, the user of the edge's image: with the volume of the edge at /var/lib/pancake-edge `leads edge-spool` works.
# /data is for what the verbs write: backups, plans, records, reports. Others may pass through: `leads setup` runs with
# the user id of the person whose folder is mounted there.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o www-data -g www-data -m 700 /var/lib/pancake-edge \
    && install -d -o www-data -g www-data -m 711 /data
COPY --from=ops-dependencies /venv /venv
# A separate layer: a change of the code leaves the large layer with the dependencies as it is.
COPY --from=project /project /
ENV VERSION=$VERSION COMMIT=$COMMIT HOME=/data
USER 33:33
WORKDIR /data
VOLUME /data
ENTRYPOINT ["leads"]

# Stand-ins for external services (Pancake, Diva's notification service), the program that stores the sandbox's
# connection, and Diva's project of the Hasura CLI with our part in it.
FROM ops AS sandbox
USER 0:0
WORKDIR /srv
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

# The server alone: nothing of the operators' command.
FROM project AS server
RUN rm /project/venv/bin/leads \
    && for name in CHANGELOG.md README.md deploy docs hasura ops; do rm -r /project/venv/lib/python3*/site-packages/"$name"; done

FROM python AS handlers
ARG VERSION=unknown
ARG COMMIT=unknown
WORKDIR /srv
COPY --from=dependencies /venv /venv
COPY --from=server /project /
# 0.0.0.0, so that the port can be published; `pancake-handlers` alone listens on the loopback interface. Do not publish the
# second port: /readyz and /metrics ask for no secret.
ENV VERSION=$VERSION COMMIT=$COMMIT BIND=0.0.0.0:8080 OPS_BIND=0.0.0.0:9146
USER 10001:10001
EXPOSE 8080 9146
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["pancake-handlers"]
