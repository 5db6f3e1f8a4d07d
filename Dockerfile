# Builds agentbus; the image has the binary only, which contains the console and the migrations.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY src src
COPY migrations migrations
COPY frontend-stub frontend-stub
RUN cargo build --profile dist --locked --bin agentbus

FROM debian:bookworm-slim
# The user is a number, so that Kubernetes can tell that it is not root.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 agentbus \
    && useradd --uid 10001 --gid 10001 --home-dir /data --create-home agentbus
COPY --from=build /src/target/dist/agentbus /usr/local/bin/agentbus
USER 10001:10001
WORKDIR /data
ENV DATA_DIR=/data HTTP_ADDR=0.0.0.0:8080
# The server does not listen on loopback here, so it needs AUTH=required (or ALLOW_ANONYMOUS=true). The first key:
# `docker run --rm -e AUTH=required -v agentbus:/data agentbus keys create --admin --name root`.
EXPOSE 8080
VOLUME /data
# By bash, which the base image has: curl and its libraries would be a third of the image.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080 && printf "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]'
ENTRYPOINT ["agentbus"]
CMD ["serve"]
