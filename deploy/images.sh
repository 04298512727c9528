#!/usr/bin/env bash
# Builds the six images `nurture-<service>:$TAG` and prints their sizes.
#
#   deploy/images.sh                 on the official BASE_IMAGE
#   deploy/images.sh --from-debian   where no image registry is reachable: bases, NATS and PostgreSQL are made from Debian's
#                                    packages first, those that are missing (root, debootstrap)
#
# TAG (local), BASE_IMAGE, BUILD_IMAGE (BASE_IMAGE with pip); PACKAGE_INDEX names a file with PIP_INDEX_URL=… and
# UV_DEFAULT_INDEX=…, CERTIFICATES one with the authorities to trust (this machine's): both reach the build as secrets.
set -euo pipefail
cd "$(dirname "$0")/.."
SERVICES="gateway controller email telegram scoring local"
TAG=${TAG:-local}
CERTIFICATES=${CERTIFICATES:-${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}}
[ -f "$CERTIFICATES" ] || CERTIFICATES=
export DOCKER_BUILDKIT=1

# A client from 23 on builds by a plugin, which may be missing; Debian's own client needs none.
builds() { "$1" buildx version >/dev/null 2>&1 || [[ "$("$1" version -f '{{.Client.Version}}' 2>/dev/null)" =~ ^(19|20)\. ]]; }
for docker in "${DOCKER:-docker}" /usr/bin/docker ""; do
  if [ -n "$docker" ] && builds "$docker"; then break; fi
done
[ -n "$docker" ] || { echo "no docker client that can build with secrets: install docker-buildx, or Debian's docker.io" >&2; exit 1; }
has() { "$docker" image inspect "$1" >/dev/null 2>&1; }

from_debian() {
  has nurture-debian:12 || {
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
    rm -f "$root.log"
    tar -C "$root" --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' \
      --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' -c . \
      | "$docker" import --change 'ENV LANG=C.UTF-8' - nurture-debian:12 >/dev/null
    rm -rf "$root"
  }
  for target in python build postgres; do
    has "nurture-$target:debian" || "$docker" build -q -t "nurture-$target:debian" --target "$target" deploy/debian >/dev/null
  done
  has nurture-nats:debian || {
    # The very server that `nurture up` embeds.
    folder=$(mktemp -d)
    cp "$(.venv/bin/python -c 'from nurture_local.programs import nats_server; print(nats_server())')" "$folder/nats-server"
    "$docker" build -q -t nurture-nats:debian -f deploy/debian/nats.Dockerfile "$folder" >/dev/null
    rm -rf "$folder"
  }
}

if [ "${1:-}" = --from-debian ]; then
  from_debian
  BASE_IMAGE=${BASE_IMAGE:-nurture-python:debian}
  BUILD_IMAGE=${BUILD_IMAGE:-nurture-build:debian}
fi

given=()
for name in BASE_IMAGE BUILD_IMAGE; do [ -z "${!name:-}" ] || given+=(--build-arg "$name=${!name}"); done
[ -z "${PACKAGE_INDEX:-}" ] || given+=(--secret "id=index,src=$PACKAGE_INDEX")
[ -z "$CERTIFICATES" ] || given+=(--secret "id=authority,src=$CERTIFICATES")
for service in $SERVICES; do
  [ "$service" = local ] && module=nurture_local.sandbox || module=nurture_$service
  "$docker" build -q -t "nurture-$service:$TAG" --build-arg "SERVICE=$service" --build-arg "MODULE=$module" \
    "${given[@]}" -f deploy/Dockerfile . >/dev/null
done
"$docker" images --filter "reference=nurture-*:$TAG" --filter 'reference=nurture-*:debian' --format '{{.Repository}}:{{.Tag}}\t{{.Size}}' | sort
