# The two images of Holdfast:
#
#   docker build --target operator -t holdfast-operator .
#   docker build --target agent    -t holdfast-agent .
#
# Both are `scratch` plus Python, the locked dependencies of that program and its two packages. No shell, no pip, no compiler.
# PYTHON_BUILD_BASE lends its Python: any glibc image with Python >= 3.11 and pip will do. PYTHON_BASE lends its CA certificates; it is
# a second one so that certificates and settings of the network that builds stay out of what is shipped.
ARG PYTHON_BUILD_BASE=python:3.11-slim
ARG PYTHON_BASE=python:3.11-slim

FROM ${PYTHON_BASE} AS base

FROM ${PYTHON_BUILD_BASE} AS operator-build
# Settings of pip for networks with an index of their own; they stay in this stage.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/operator.txt /build/
RUN python3 -m pip install --require-hashes --only-binary :all: --no-compile --target /opt/holdfast -r /build/operator.txt
COPY docker/minimal_root.py /build/
RUN python3 /build/minimal_root.py /rootfs /opt/holdfast
COPY crds/holdfast_api /src/holdfast_api
COPY operator/holdfast_operator /src/holdfast_operator
RUN python3 -m compileall -q --invalidation-mode unchecked-hash -s /src -p /opt/holdfast /src

FROM scratch AS operator
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="holdfast-operator" \
      org.opencontainers.image.description="Watches Agents and makes the Dapr objects and Deployments that they need" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/usr/local/bin:/usr/bin \
    LANG=C.UTF-8 \
    PYTHONPATH=/opt/holdfast \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY --from=operator-build /rootfs/ /
COPY --from=base /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=operator-build /src/ /opt/holdfast/
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "holdfast_operator"]

FROM ${PYTHON_BUILD_BASE} AS agent-build
# Settings of pip for networks with an index of their own; they stay in this stage.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/agent.txt /build/
RUN python3 -m pip install --require-hashes --only-binary :all: --no-compile --target /opt/holdfast -r /build/agent.txt
COPY docker/minimal_root.py /build/
RUN python3 /build/minimal_root.py /rootfs /opt/holdfast
COPY crds/holdfast_api /src/holdfast_api
COPY agent_image/holdfast_agent /src/holdfast_agent
RUN python3 -m compileall -q --invalidation-mode unchecked-hash -s /src -p /opt/holdfast /src

FROM scratch AS agent
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="holdfast-agent" \
      org.opencontainers.image.description="Runs one durable LLM agent on Dapr Workflow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/usr/local/bin:/usr/bin \
    LANG=C.UTF-8 \
    PYTHONPATH=/opt/holdfast \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY --from=agent-build /rootfs/ /
COPY --from=base /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=agent-build /src/ /opt/holdfast/
USER 65532:65532
WORKDIR /tmp
EXPOSE 8001
ENTRYPOINT ["python3", "-m", "holdfast_agent"]
CMD ["serve"]
