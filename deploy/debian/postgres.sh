#!/bin/sh
# The part of the official image's entry point that Nurture uses: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB at first start.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres} database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
  handed=$(mktemp)
  printf '%s' "${POSTGRES_PASSWORD:?is not set}" >"$handed"
  initdb -D "$PGDATA" -U "$user" --pwfile="$handed" --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --locale=C.UTF-8
  rm -f "$handed"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  # Not listening on the network yet: nobody may take this for the server that is ready.
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
  [ "$database" = postgres ] || createdb -U "$user" "$database"
  pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@" -c listen_addresses='*'
