# syntax=docker/dockerfile:1
# The daemon's image: a virtual environment at its final path, built once and copied onto a base without compiler,
# pip or cache. Two builds of one commit give one digest (`--timestamp`, or SOURCE_DATE_EPOCH with rewrite-timestamp).
# Both bases are Debian 13 with Python 3.13, so that one environment fits both.
ARG PYTHON_IMAGE=docker.io/library/python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
ARG DISTROLESS_IMAGE=gcr.io/distroless/python3-debian13@sha256:931a490beb37db6a1d137ad11ed47ae4c0d4741ca5c2285818b49e9a8ee11c56

FROM ${PYTHON_IMAGE} AS build
# Sets and dictionaries of strings are stored in .pyc files in hash order.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONHASHSEED=0
RUN python3 -m venv /build/tools && python3 -m venv --without-pip /opt/holdfast
WORKDIR /build
COPY requirements/build.lock requirements/run.lock requirements/
RUN /build/tools/bin/pip install --require-hashes -r requirements/build.lock \
    && /build/tools/bin/pip --python /opt/holdfast/bin/python3 install --no-compile --require-hashes --only-binary :all: -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
# .pyc files by hash and never checked again: the sources in an image do not change, and their times do.
RUN /build/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /build/tools/bin/pip --python /opt/holdfast/bin/python3 install --no-compile --no-deps dist/*.whl \
    && python3 -m compileall -qf --invalidation-mode unchecked-hash /opt/holdfast/lib

# The same for a base whose interpreter lies elsewhere.
FROM build AS build-distroless
RUN for link in /opt/holdfast/bin/python*; do ln -sf /usr/bin/python3 "$link"; done \
    && sed -i 's,^home = .*,home = /usr/bin,' /opt/holdfast/pyvenv.cfg

# No shell and no package manager; for debugging, `kubectl debug`.
FROM ${DISTROLESS_IMAGE} AS distroless
ARG DISTROLESS_IMAGE
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="The node daemon that holds fast the processes a machine cannot afford to lose." \
      org.opencontainers.image.source="https://github.com/holdfast/holdfast" \
      org.opencontainers.image.url="https://github.com/holdfast/holdfast" \
      org.opencontainers.image.documentation="https://github.com/holdfast/holdfast/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${DISTROLESS_IMAGE}"
ENV PATH=/opt/holdfast/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOLDFAST_REVISION="${REVISION}"
COPY --from=build-distroless /opt/holdfast /opt/holdfast
# The base's own library has no .pyc files: each start would compile it. The seed, as above; an ARG, so that it does not
# stay in the image's environment. Checked by hash: a base that is updated later is compiled anew, not misread.
ARG PYTHONHASHSEED=0
RUN ["/opt/holdfast/bin/python3", "-c", "import compileall, os, py_compile, re; compileall.compile_dir(os.path.dirname(os.__file__), quiet=1, rx=re.compile('/(site-packages|dist-packages|ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter)/'), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/opt/holdfast/bin/holdfast", "health"]
ENTRYPOINT ["/opt/holdfast/bin/holdfast"]
CMD ["run"]

# Last, and so the default. It runs as root, as its base does: what it writes to is other users'.
FROM ${PYTHON_IMAGE} AS holdfast
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="The node daemon that holds fast the processes a machine cannot afford to lose." \
      org.opencontainers.image.source="https://github.com/holdfast/holdfast" \
      org.opencontainers.image.url="https://github.com/holdfast/holdfast" \
      org.opencontainers.image.documentation="https://github.com/holdfast/holdfast/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
ENV PATH=/opt/holdfast/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOLDFAST_REVISION="${REVISION}"
COPY --from=build /opt/holdfast /opt/holdfast
# As above.
ARG PYTHONHASHSEED=0
RUN ["/opt/holdfast/bin/python3", "-c", "import compileall, os, py_compile, re; compileall.compile_dir(os.path.dirname(os.__file__), quiet=1, rx=re.compile('/(site-packages|dist-packages|ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter)/'), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)"]
# Kubernetes has its own probes; this is for docker and podman.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/opt/holdfast/bin/holdfast", "health"]
ENTRYPOINT ["/opt/holdfast/bin/holdfast"]
CMD ["run"]
