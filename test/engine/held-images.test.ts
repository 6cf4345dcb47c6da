import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { findEngineSocket } from 'felhom-controller/engine/engine-socket.ts';
import { openStackEngine, type StackEngineApi } from 'felhom-controller/engine/stack-engine-api.ts';
import { makeStandIns } from 'felhom-controller/upgrade/stand-ins.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { must, run } from '../lab/process.ts';

/*
 * What docker's brooms leave of an image that is held, and what Compose hands on of a stand-in: facts about docker that
 * a rollback stands on. Every broom is bound to a label of ours: nothing else of this engine is swept.
 */

const name = `felhomheld${process.pid}`;
const label = `felhom.held-test=${process.pid}`;
const kept = `${name}:kept`;
let engine: StackEngineApi;
let folder: string;
let id: string;

beforeAll(async () => {
  engine = openStackEngine({ socketPath: await findEngineSocket(process.env), commands: systemCommands });
  folder = await mkdtemp('/var/tmp/felhom-held-');
  await writeFile(join(folder, 'Dockerfile'), `FROM felhom/busybox:test\nLABEL ${label}\nVOLUME /anonymous\n`);
  id = (await must('docker', ['build', '--quiet', '--iidfile', join(folder, 'id'), folder])).trim();
});
afterAll(async () => {
  await run('docker', ['compose', '-p', name, 'down', '--timeout', '0', '--volumes']);
  await run('docker', ['rm', '--force', '--volumes', `${name}-pin`]);
  await run('docker', ['rmi', '--force', kept, id]);
  await engine.close();
  await rm(folder, { recursive: true });
});

const isThere = async (): Promise<boolean> => (await engine.image(id)) !== null;
const prune = async (what: string, ...flags: string[]): Promise<string> =>
  await must('docker', [what, 'prune', '--force', ...flags, '--filter', `label=${label}`]);
const pin = async (): Promise<void> => {
  const [key = '', value = ''] = label.split('=');
  await engine.pinImage({ name: `${name}-pin`, imageId: id, labels: { [key]: value } });
};

describe('an image that lost its name', () => {
  it('is spared by "image prune --all" through a container that was never started', async () => {
    await pin();
    await prune('image', '--all');
    expect(await isThere()).toBe(true);
  });

  it('is spared by "system prune", which takes such a container, through a name of ours', async () => {
    await pin();
    await engine.tag(id, kept);
    await prune('container');
    await prune('image');
    expect([await isThere(), (await run('docker', ['inspect', `${name}-pin`])).code]).toEqual([true, 1]);
  });
});

describe('a stand-in', () => {
  it('hands its volumes without a name to what Compose makes in its place, replica by replica', async () => {
    await engine.tag(id, kept);
    const service = { image: kept, command: ['sleep', '60'], network_mode: 'none', deploy: { replicas: 2 } };
    const file = join(folder, 'compose.yaml');
    await writeFile(file, JSON.stringify({ services: { app: { ...service, volumes: ['/named-by-nobody'] } } }));
    const files = { project: name, composeFiles: [file], envFiles: [], workingDir: folder };
    const enough = { boundMs: 60_000, inheritFds: [] };
    expect(await engine.composeUp(files, ['app'], enough)).toEqual({ trouble: null });
    const before = await volumesByReplica();
    expect(before.size).toBe(4);
    for (const each of await own()) await engine.remove(each.id, enough);
    const anonymous = [...before].map(([where, volume]) => ({
      volume,
      target: where.replace(/^\d+ /, ''),
      number: Number.parseInt(where, 10),
    }));
    const old = {
      name: 'app',
      image_ref: kept,
      image_id: id,
      config_hash: '',
      digests: [],
      ran: true,
      was_healthy: true,
      task: false,
    };
    await makeStandIns({ ports: { engine }, debt: { stack: name, files, old: [{ ...old, anonymous }] } });
    expect((await own()).map(({ status }) => status)).toEqual(['created', 'created']);
    expect(await engine.composeUp(files, ['app'], enough)).toEqual({ trouble: null });
    expect((await own()).map((each) => [each.status, each.name]).toSorted()).toEqual([
      ['running', `${name}-app-1`],
      ['running', `${name}-app-2`],
    ]);
    expect(await volumesByReplica()).toEqual(before);
  });
});

async function own() {
  return (await engine.list()).filter(({ project }) => project === name);
}

/** `1 /data` → the volume's name. */
async function volumesByReplica(): Promise<Map<string, string>> {
  const found = (await own()).flatMap(({ number, mounts }) =>
    mounts.map(({ destination, volume }) => [`${number} ${destination}`, volume ?? ''] as const),
  );
  return new Map(found.toSorted(([left], [right]) => left.localeCompare(right)));
}
