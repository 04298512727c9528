# The embedded server in an image, with the `wget` that the official one has for health checks.
FROM nurture-debian:12
RUN apt-get update -qq && apt-get install -yqq --no-install-recommends busybox >/dev/null \
    && ln -s /bin/busybox /usr/local/bin/wget && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/* /var/log/*
COPY --chmod=0755 nats-server /usr/local/bin/nats-server
ENTRYPOINT ["nats-server"]
