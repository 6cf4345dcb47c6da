import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitUntilUp } from '../../test/lab/backup.ts';
import { containerIdentity } from '../../test/lab/identity.ts';
import { type Lab, openLab } from '../../test/lab/lab.ts';
import { lookIntoDatabase } from '../../test/lab/postgres.ts';
import { postgresUnderWrites, writeRows } from '../../test/lab/stacks.ts';
import { waitUntil } from '../../test/lab/wait-until.ts';
import { killWhileDown } from './kill-while-down.ts';

/** How the demo speaks, and whether its backup speaks JSON. */
export interface Demo {
  say: (line: string) => unknown;
  json: boolean;
}

const boundMs = 6 * 60_000;
const stack = 'shop';

/**
 * The whole story. Returns what `backup now --json` printed (with `json`), otherwise undefined.
 * @throws an error when any step does not end as it should; whatever was made is taken down first.
 */
export async function runDemo(demo: Demo): Promise<unknown> {
  const { say } = demo;
  const interrupted = new AbortController();
  const stop = (): void => interrupted.abort(new Error('interrupted; everything was taken down'));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  say('A Proxmox VE node (simulated, over TLS), its agent and hook, and guest 101 ...');
  const lab = await openLab();
  if (lab.disk.kind === 'plain') say('(No root or no btrfs here: a plain copy stands for the snapshot.)');
  const bound = setTimeout(() => interrupted.abort(new Error(`not over after ${boundMs / 1_000} s`)), boundMs);
  const end = new Promise<never>((_resolve, reject) => {
    if (interrupted.signal.aborted) reject(interrupted.signal.reason);
    interrupted.signal.addEventListener('abort', () => reject(interrupted.signal.reason), { once: true });
  });
  try {
    return await Promise.race([tell(lab, demo), end]);
  } finally {
    clearTimeout(bound);
    process.off('SIGINT', stop).off('SIGTERM', stop);
    await lab.close();
  }
}

async function tell(lab: Lab, demo: Demo): Promise<unknown> {
  const { say } = demo;
  say(`\n# the guest's app: PostgreSQL, and a writer that inserts rows as fast as they are acknowledged`);
  const project = await lab.addStack(stack, postgresUnderWrites(containerIdentity()), {
    'writer/write-rows': writeRows,
    'pgdata/': '',
  });
  await waitUntil('the writer has written some rows', async () => (await acknowledged(project)) > 50, {
    boundMs: 60_000,
  });
  say(`$ docker compose ls\n${(await lab.engine.docker('compose', 'ls')).trim()}`);
  say(`rows acknowledged so far: ${await acknowledged(project)}`);

  const result = await backUp(lab, demo);
  await proveArchive(lab, demo);
  await killAndRecover(lab, { say, project });
  return result;
}

/** The newest row that PostgreSQL has acknowledged to the writer. */
async function acknowledged(project: string): Promise<number> {
  const text = await readFile(join(project, 'writer/acknowledged'), 'utf8').catch(() => ''); // Not there yet: none.
  return Number(text.trim().split('\n').at(-1) ?? 0);
}

async function backUp(lab: Lab, { say, json }: Demo): Promise<unknown> {
  const args = ['backup', 'now', ...(json ? ['--json'] : [])];
  say(`\n# in the guest\n$ felhom-controller ${args.join(' ')}`);
  const end = await lab.inGuest(args);
  say((json ? end.stderr : end.stdout + end.stderr).trim());
  if (end.code !== 0) throw new Error(`the backup ended with exit code ${end.code}\n${end.stdout}`);
  return json ? JSON.parse(end.stdout) : undefined;
}

async function proveArchive(lab: Lab, { say }: Demo): Promise<void> {
  const [archive] = await lab.archives();
  if (archive === undefined) throw new Error('there is no archive on the storage');
  say(`\n# what is in it\n$ tar --zstd -xf ${archive.split('/').at(-1)} ./srv/${stack}`);
  const root = await lab.unpack({ archive, paths: [`./srv/${stack}`] });
  const project = join(root, 'srv', stack);
  const wanted = await acknowledged(project);
  const found = await lookIntoDatabase(lab.engine, join(project, 'pgdata'));
  say(`$ pg_controldata\nDatabase cluster state:               ${found.state}`);
  say(
    `$ psql -c 'select count(*), max(n) from rows'\n${found.count} rows, the last is ${found.last}; acknowledged before the stop: ${wanted}`,
  );
  if (found.state !== 'shut down') throw new Error(`the database in the archive is "${found.state}", not "shut down"`);
  if (found.last < wanted) throw new Error(`row ${wanted} was acknowledged and is not in the archive`);
}

async function killAndRecover(lab: Lab, { say, project }: { say: Demo['say']; project: string }): Promise<void> {
  say(`\n# the same once more, and kill -9 for the controller while the database is down`);
  const killed = await killWhileDown(lab);
  say(`$ felhom-controller backup now &\n$ kill -9 ${killed.pid}        # down: ${killed.down.join(', ')}`);
  const before = await acknowledged(project);
  await waitUntilUp(lab, killed.down);
  const seconds = ((performance.now() - killed.atMs) / 1_000).toFixed(1);
  say(`... nobody does anything ...\nback after ${seconds} s, started by the guard that the controller left behind:`);
  say((await lab.engine.docker('ps', '--format', '{{.Names}}: {{.Status}}')).trim());
  await lab.clearFaults();
  await waitUntil('rows are written again', async () => (await acknowledged(project)) > before, { boundMs: 60_000 });
  const status = await waitUntil('nothing is owed any more', async () => {
    const { stdout } = await lab.inGuest(['status']);
    return stdout.includes('nothing is owed') && stdout;
  });
  say(`$ felhom-controller status\n${status.trim()}`);
}
