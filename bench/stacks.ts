import { plainService } from '@felhom/test/lab/stacks.ts';

const postgres = (extra = ''): string => `
services:
  db:
    image: felhom/postgres:test
    restart: unless-stopped
    volumes:
      - ./pgdata:/var/lib/postgresql/data
${extra}`;

const dependent = `
  app:
    image: felhom/busybox:test
    restart: unless-stopped
    depends_on: [db]
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2 & wait $$!; done"]
`;

/** Three stacks; the first has two services of which one depends on the other. */
export const stacks: Readonly<Record<string, string>> = {
  shop: postgres(dependent),
  wiki: postgres(),
  feed: plainService('feed'),
};

export const stackNames = Object.keys(stacks);
