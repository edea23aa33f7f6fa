# Any base with Python 3.11 to 3.13 does; both stages need the same one.
# checkov:skip=CKV_DOCKER_7: BASE has a tag
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
# pip's own setting, where packages come from a mirror.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY deploy/requirements.txt deploy/requirements-build.txt deploy/
RUN python3 -m venv /build \
 && /build/bin/pip install --quiet --require-hashes -r deploy/requirements-build.txt \
 && python3 -m venv --without-pip /opt/soteri-forwarder \
 && /build/bin/pip --python /opt/soteri-forwarder/bin/python install --quiet --only-binary :all: --require-hashes -r deploy/requirements.txt \
 && /opt/soteri-forwarder/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/soteri-forwarder/lib
COPY pyproject.toml README.md ./
COPY forwarder forwarder
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist . \
 && /build/bin/pip --python /opt/soteri-forwarder/bin/python install --quiet --no-index --no-deps /dist/*.whl \
 && /opt/soteri-forwarder/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/soteri-forwarder/lib/python3*/site-packages/forwarder

FROM ${BASE}
ARG BASE
ARG REVISION=""
LABEL org.opencontainers.image.title="soteri-forwarder" \
      org.opencontainers.image.description="Forwards Soteri's audit events from Bitbucket Data Center to Splunk, CloudWatch Logs, syslog and files, losing none" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# State and files for whatever user and group it is run as: as for /tmp, each may make its own.
RUN install -d -m 1777 /var/lib/soteri-forwarder /var/log/soteri-forwarder
COPY --from=build /opt/soteri-forwarder /opt/soteri-forwarder
ENV PATH=/opt/soteri-forwarder/bin:$PATH HOME=/var/lib/soteri-forwarder PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/soteri-forwarder
VOLUME /var/lib/soteri-forwarder
EXPOSE 9187
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["soteri-forwarder", "health"]
ENTRYPOINT ["soteri-forwarder"]
CMD ["run"]
