import type { ContainerIdentity } from './identity.ts';

/*
 * Compose files of the lab's stacks. Everything they write lies in the guest: folders of the project, or named volumes.
 * What they do between start and stop is done once a second: a dozen apps that woke ten times as often took a fifth of
 * the processor away from what is tested.
 */

/**
 * PostgreSQL, and a writer that inserts rows as fast as they are acknowledged. Each acknowledged number is appended to
 * `acknowledged` before the next is sent: what stands there must be in every app-consistent backup.
 */
export const postgresUnderWrites = (identity: ContainerIdentity): string => `
services:
  db:
    image: felhom/postgres:test
    restart: unless-stopped
    command: ["-c", "unix_socket_directories=/tmp"]
${identity.compose}    volumes:
${identity.composeVolumes}      - ./pgdata:/var/lib/postgresql/data
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -q -h 127.0.0.1 -U postgres"]
      interval: 1s
      timeout: 2s
      retries: 30
      start_period: 20s
  writer:
    image: felhom/postgres:test
    restart: unless-stopped
    depends_on:
      db:
        condition: service_healthy
    entrypoint: ["/bin/sh", "/srv/write-rows"]
    stop_signal: SIGTERM
${identity.compose}    volumes:
${identity.composeVolumes}      - ./writer:/srv
`;

/** The writer of `postgresUnderWrites`. It goes on where it stopped and ends at once when it is told to. */
export const writeRows = `trap 'exit 0' TERM
say() { psql -h db -U postgres -d postgres -v ON_ERROR_STOP=1 -qAt -c "$1"; }
until say 'create table if not exists rows (n bigint primary key)' 2>/dev/null; do sleep 0.1; done
n=$(tail -n 1 /srv/acknowledged 2>/dev/null)
n=$((\${n:-0} + 1))
while :; do
  if say "insert into rows values ($n) on conflict do nothing" 2>/dev/null; then
    echo "$n" >>/srv/acknowledged
    n=$((n + 1))
  else
    sleep 0.05
  fi
done
`;

/** A service that appends to a file and ends at once when it is told to: the cheapest stack there is. */
export function plainService(name: string, extra = ''): string {
  return `
services:
  ${name}:
    image: felhom/busybox:test
    restart: unless-stopped
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do echo tick >>/data/ticks; sleep 1 & wait $$!; done"]
    volumes:
      - ./data:/data
${extra}`;
}

/** Two apps that end at once when they are told to, and that nobody but us starts again: the engine does not. */
export const pairWithoutRestart = `
services:
  db:
    image: felhom/busybox:test
    restart: "no"
    command: &run ["sh", "-c", "trap 'exit 0' TERM; while :; do echo tick >>/data/ticks; sleep 1 & wait $$!; done"]
    volumes: ["./db:/data"]
  app:
    image: felhom/busybox:test
    restart: "no"
    depends_on: [db]
    command: *run
    volumes: ["./app:/data"]
`;
