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
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /data --create-home agentbus
COPY --from=build /src/target/dist/agentbus /usr/local/bin/agentbus
USER agentbus
WORKDIR /data
ENV DATA_DIR=/data HTTP_ADDR=0.0.0.0:8080
# The server does not listen on loopback here, so it needs AUTH=required (or ALLOW_ANONYMOUS=true). The first key:
# `docker run --rm -e AUTH=required -v agentbus:/data agentbus keys create --admin --name root`.
EXPOSE 8080
VOLUME /data
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD curl -fsS http://127.0.0.1:8080/readyz || exit 1
ENTRYPOINT ["agentbus"]
CMD ["serve"]
