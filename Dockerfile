# The crossfade binary and the roots that sslrootcert=system trusts; nothing else.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package crossfade-cli --bin crossfade

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/crossfade /usr/local/bin/crossfade
# Where a certificate and a password file may be mounted: ~/.postgresql, ~/.pgpass.
RUN useradd --create-home --uid 10001 crossfade
USER 10001
WORKDIR /home/crossfade
ENTRYPOINT ["crossfade"]
CMD ["--help"]
