# mtopt itself, set up as `make setup` sets it up anywhere; the services' images are made from this one.
FROM python:3.11.11-slim-bookworm

# Where pip looks beside PyPI: with PyTorch's CPU builds, say, the image is a fraction of the size.
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONDONTWRITEBYTECODE=1

WORKDIR /opt/mtopt
# Versions are those of the base's Debian release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make util-linux \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# Installs the Debian packages it needs by itself.
RUN make setup && rm -rf /var/lib/apt/lists/* ~/.cache

RUN useradd --uid 10001 --create-home mtopt \
    && mkdir /data /models \
    && chown mtopt: /data /models
USER 10001
ENV ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET
ENTRYPOINT ["/opt/mtopt/docker/in_environment"]
CMD ["mtopt", "--help"]
