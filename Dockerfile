# Builds the executable, and ends in an image that has little else: its libc and certificates.
FROM node:22-bookworm-slim AS build
WORKDIR /src
COPY package.json bun.lock bunfig.toml .npmrc ./
COPY scripts scripts
RUN sh scripts/bun.sh --version
COPY . .
RUN npm run build

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin marketd
COPY --from=build /src/dist/marketd /usr/local/bin/marketd
USER marketd
ENV NODE_ENV=production API_HOST=0.0.0.0 AUTH=off
EXPOSE 8000
# Publish the port to 127.0.0.1 only (-p 127.0.0.1:8000:8000): nobody is asked who they are.
CMD ["marketd", "serve", "--migrate"]
