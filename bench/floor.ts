import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lab } from '@felhom/test/lab/lab.ts';
import { waitUntil } from '@felhom/test/lab/wait-until.ts';
import type { BareVzdump } from './bare-vzdump.ts';
import { stackNames } from './stacks.ts';

export type Gate = 'hook' | 'log';

/** Our hook, or none, stands in vzdump.conf while we measure ourselves; the floor's only for its own backups. */
async function withFloorHook<T>(lab: Lab, gate: Gate, work: () => Promise<T>): Promise<T> {
  const host = join(lab.folder, 'host');
  const conf = join(host, 'vzdump.conf');
  const before = await readFile(conf, 'utf8');
  const hook = join(host, 'floor-hook');
  await copyFile(join(import.meta.dirname, 'floor-hook'), hook);
  const settings = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: '/root',
    DOCKER_HOST: lab.engine.host,
    STACKS: stackNames.join(' '),
    GATE: gate,
  };
  const lines = Object.entries(settings).map(([name, value]) => `export ${name}='${value}'\n`);
  await writeFile(join(host, 'floor.env'), lines.join(''));
  await rm(join(host, 'floor.times'), { force: true });
  await writeFile(conf, `script: ${hook}\n`);
  try {
    return await work();
  } finally {
    await writeFile(conf, before);
  }
}

/** Milliseconds from the first bare `stop` to the end of the last bare `start`, around one vzdump of the simulator. */
export async function measureFloor(lab: Lab, gate: Gate, vzdump: BareVzdump): Promise<number> {
  return await withFloorHook(lab, gate, async () => {
    const begunMs = Date.now();
    if (gate === 'log') await allStacks(lab, 'stop');
    await vzdump.finish(await vzdump.start());
    const times = await waitUntil('the floor is up', async () => await readTimes(lab));
    return times('up') - (gate === 'log' ? begunMs : times('down'));
  });
}

/** Milliseconds of the way without snapshots: stop, copy the whole guest into an archive, start. */
export async function measureStopCopyStart(lab: Lab, copy: (to: string) => Promise<void>): Promise<number> {
  const archive = join(lab.folder, 'copy.tar.zst');
  const begunMs = Date.now();
  await allStacks(lab, 'stop');
  await copy(archive);
  await allStacks(lab, 'start');
  const tookMs = Date.now() - begunMs;
  await rm(archive);
  return tookMs;
}

async function allStacks(lab: Lab, verb: 'stop' | 'start'): Promise<void> {
  await Promise.all(stackNames.map(async (name) => await lab.engine.docker('compose', '-p', name, verb)));
}

/** The hook's marks in milliseconds, once the last of them is there. */
async function readTimes(lab: Lab): Promise<((mark: 'down' | 'up') => number) | false> {
  const text = await readFile(join(lab.folder, 'host/floor.times'), 'utf8').catch(() => '');
  const times = new Map(text.split('\n').map((line) => [line.split(' ')[0], Number(line.split(' ')[1]) / 1e6]));
  return times.has('up') && ((mark) => times.get(mark) ?? Number.NaN);
}
