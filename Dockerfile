# Builds agentbus and ships the binary alone: the console and the migrations are inside it.
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
# A container's address is not loopback. Publish the port to loopback only, or put something in
# front that knows who may come: `docker run -e ALLOW_ANONYMOUS=true -p 127.0.0.1:8080:8080 …`.
EXPOSE 8080
VOLUME /data
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD curl -fsS http://127.0.0.1:8080/readyz || exit 1
ENTRYPOINT ["agentbus"]
CMD ["serve"]
