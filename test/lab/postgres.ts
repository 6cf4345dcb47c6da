import { randomUUID } from 'node:crypto';
import type { LabEngine } from './engine.ts';
import { containerIdentity } from './identity.ts';
import { waitUntil } from './wait-until.ts';

/** What an unpacked data folder of PostgreSQL turned out to hold. */
export interface DatabaseFound {
  /** `Database cluster state` of pg_controldata, before anything was started on it. */
  state: string;
  /** Rows of the table `rows`, and its largest number. */
  count: number;
  last: number;
}

/** Reads the state of a data folder, then starts PostgreSQL on it in a throw-away container and counts the rows. */
export async function lookIntoDatabase(engine: LabEngine, dataFolder: string): Promise<DatabaseFound> {
  const state = await clusterState(engine, dataFolder);
  const name = `look-${randomUUID()}`;
  const data = ['--volume', `${dataFolder}:/var/lib/postgresql/data`];
  const sockets = ['-c', 'unix_socket_directories=/tmp'];
  const flags = containerIdentity().flags;
  await engine.docker('run', '--detach', '--name', name, ...flags, ...data, 'felhom/postgres:test', ...sockets);
  try {
    const ask = [
      'exec',
      name,
      'psql',
      '-h',
      '127.0.0.1',
      '-U',
      'postgres',
      '-qAtc',
      'select count(*), coalesce(max(n), 0) from rows',
    ];
    const line = await waitUntil('the unpacked database answers', async () => {
      const end = await engine.tryDocker(...ask);
      return end.code === 0 ? end.stdout.trim() : undefined;
    });
    const [count, last] = line.split('|').map(Number);
    return { state, count: count ?? 0, last: last ?? 0 };
  } finally {
    await engine.docker('rm', '--force', '--volumes', name);
  }
}

/** `Database cluster state` of a data folder: `shut down`, or `in production` when it was copied while it ran. */
export async function clusterState(engine: LabEngine, dataFolder: string): Promise<string> {
  const script = 'exec /usr/lib/postgresql/*/bin/pg_controldata /data';
  const said = await engine.docker(
    'run',
    '--rm',
    ...containerIdentity().flags,
    '--volume',
    `${dataFolder}:/data:ro`,
    '--entrypoint',
    'sh',
    'felhom/postgres:test',
    '-c',
    script,
  );
  return /^Database cluster state:\s*(.*)$/m.exec(said)?.[1]?.trim() ?? 'unknown';
}
