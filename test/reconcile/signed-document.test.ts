import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificate } from '@felhom/pinned-tls/testing/certificate.ts';
import { noDelays } from '@felhom/pve-sim/delays.ts';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { until } from '../agent/rig.ts';
import { run, startInBackground } from '../lab/process.ts';
import { agentProgram, buildPrograms } from '../lab/programs.ts';

interface World {
  folder: string;
  sim: PveSim;
  /** The file that the server offers; null: it answers 503. */
  offer(name: string | null): void;
  /** felhom-agent, with its configuration. */
  agent(
    ...args: string[]
  ): Promise<{ code: number | null; stdout: string; stderr: string; json: Record<string, unknown> }>;
  /** Signs what the folder of files holds, as whoever keeps the key does. */
  sign(serial: number, cores: number, agentId?: string): Promise<string>;
  agentId(): Promise<string>;
}

let world: World;
/** Everything that felhom-agent printed in a test. */
const printed: string[] = [];
const documentToken = 'the-token-of-this-test';
const open: (() => void | Promise<void>)[] = [];

beforeEach(async () => {
  printed.length = 0;
  await buildPrograms();
  world = await openWorld();
});
afterEach(async () => {
  const secrets = [documentToken, world.sim.token, ...readFileSync(join(world.folder, 'key'), 'utf8').split('\n')];
  const leaked = secrets.filter((line) => line !== '' && !line.startsWith('---') && printed.join('\n').includes(line));
  for (const close of open.splice(0).toReversed()) await close();
  if (leaked.length > 0) throw new Error(`${leaked.length} secret(s) stand in what felhom-agent printed`);
});

async function openWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-signed-'));
  open.push(async () => await rm(folder, { recursive: true, force: true }));
  const sim = await startSim(folder);
  const server = await startServer(folder);
  const agent: World['agent'] = async (...args) => {
    const end = await run(process.execPath, [agentProgram, '--config', join(folder, 'agent.yaml'), ...args]);
    printed.push(end.stdout, end.stderr);
    return { ...end, json: args.includes('--json') && end.stdout !== '' ? JSON.parse(end.stdout) : {} };
  };
  const key = await agent('operation', 'keygen', '--out', join(folder, 'key'), '--name', 'anna', '--json');
  await writeConfig(folder, sim, { ...server.source, signers: [key.json['public_key']] });
  const agentId = async (): Promise<string> => String((await agent('desired', 'show', '--json')).json['agent']);
  return {
    folder,
    sim,
    offer: server.offer,
    agent,
    agentId,
    sign: async (serial, cores, id) => {
      const files = join(folder, 'files');
      await mkdir(files, { recursive: true });
      await writeFile(join(files, '101.yaml'), stringify({ vmid: 101, desired: { cores } }));
      const out = join(folder, `${serial}-${cores}.json`);
      const to = id ?? (await agentId());
      const flags = ['--key', join(folder, 'key'), '--agent', to, '--serial', String(serial), '--out', out];
      const signed = await agent('desired', 'sign', files, ...flags, '--json');
      if (signed.code !== 0) throw new Error(signed.stderr);
      return `${serial}-${cores}.json`;
    },
  };
}

async function startSim(folder: string): Promise<PveSim> {
  const sim = await startPveSim({
    listen: '127.0.0.1:0',
    state: join(folder, 'sim'),
    node: 'pve1',
    guests: [{ vmid: 101, dir: join(folder, '101') }],
    storages: [],
    authDelayMs: 0,
    spareWorkers: 0,
    delays: noDelays,
    warn: () => {},
  });
  open.push(async () => await sim.stop());
  return sim;
}

async function startServer(folder: string) {
  const { key, cert, fingerprint } = makeCertificate('config');
  let offered: string | null = null;
  const server = createServer({ key, cert }, (request, response) => {
    if (request.headers.authorization !== `Bearer ${documentToken}`) return void response.writeHead(401).end();
    if (offered === null) return void response.writeHead(503).end();
    const etag = `"${offered}"`;
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end();
    response.writeHead(200, { etag }).end(readFileSync(join(folder, offered)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => void server.close());
  const tokenFile = join(folder, 'document-token');
  await writeFile(tokenFile, documentToken, { mode: 0o600 });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/pve1.json`;
  return {
    source: { url, fingerprint, token_file: tokenFile },
    offer: (name: string | null) => {
      offered = name;
    },
  };
}

async function writeConfig(folder: string, sim: PveSim, document: Record<string, unknown>): Promise<void> {
  const tokenFile = join(folder, 'pve-token');
  await writeFile(tokenFile, sim.token, { mode: 0o600 });
  const config = {
    listen: '127.0.0.1:0',
    node: 'pve1',
    pve: { url: sim.url, token_file: tokenFile, fingerprint: sim.fingerprint },
    state: join(folder, 'state'),
    socket: join(folder, 'agent.sock'),
    guests_document: document,
  };
  await writeFile(join(folder, 'agent.yaml'), stringify(config));
}

describe('guests declared by a signed document', () => {
  it('are brought to what it says; a rollback is refused and told, and the last good document stays in force', async () => {
    const { agent, sim, sign, offer } = world;
    const cores = (): unknown => sim.guests.get(101)?.config['cores'];
    const [old, good] = [await sign(4, 9), await sign(5, 3)];
    offer(good);
    expect((await agent('reconcile', '--once', '--json')).json).toMatchObject({
      outcome: 'applied',
      desired: { version: 'serial 5' },
    });
    expect(cores()).toBe(3);
    offer(old);
    const refused = await agent('reconcile', '--once', '--json');
    expect(refused.code).toBe(0);
    expect(refused.json).toMatchObject({
      outcome: 'in_sync',
      desired: { version: 'serial 5' },
      guests: [{ vmid: 101, outcome: 'in_sync' }],
      problems: [{ message: expect.stringMatching(/older_serial.*the document with serial 5.*stays in force/) }],
    });
    expect(cores()).toBe(3);
    const status = await agent('status', '--check', '--json');
    expect([status.code, status.json['declared']]).toMatchObject([
      6,
      { serial: 5, trouble: { reason: 'older_serial' } },
    ]);
    expect((await agent('desired', 'show')).stdout).toMatch(/in force {2}serial 5.*\n.*101\nATTENTION .*older_serial/);
    offer(null);
    const planned = await agent('plan', '--detailed-exitcode');
    expect([planned.code, planned.stdout]).toEqual([
      0,
      expect.stringContaining('HTTP 503; the document with serial 5'),
    ]);
    // The last word holds while the server is away: what drifts is brought back to it.
    sim.guests.update(101, (guest) => {
      guest.config['cores'] = 8;
    });
    expect(await agent('reconcile', '--once', '--json')).toMatchObject({
      code: 0,
      json: { outcome: 'applied', problems: [{ message: expect.stringContaining('HTTP 503') }] },
    });
    expect(cores()).toBe(3);
    offer(await sign(6, 2));
    expect(await agent('reconcile', '--once', '--json')).toMatchObject({ code: 0, json: { outcome: 'applied' } });
    expect(cores()).toBe(2);
    expect((await agent('status', '--check', '--json')).json['attention']).toEqual([]);
  });

  it('are left as they are while no document is in force', async () => {
    const { agent, sim, sign, offer } = world;
    const unreached = await agent('reconcile', '--once', '--json');
    expect(unreached).toMatchObject({ code: 10, json: { error: { code: 'desired_unavailable' } } });
    offer(await sign(5, 9, 'f'.repeat(32)));
    const foreign = await agent('reconcile', '--once', '--json');
    expect(foreign).toMatchObject({ code: 13, json: { error: { code: 'policy_refused' } } });
    expect(foreign.stdout).toContain('other_agent');
    expect(sim.guests.get(101)?.config['cores']).toBe(2);
  });

  it('have their policies by it from the start of serve on, and until one is in force config check says so', async () => {
    const { agent, folder, sign, offer } = world;
    const none = await agent('config', 'check', '--json');
    expect(none.code).toBe(2);
    expect(none.stdout).toContain('is in force yet; no guest has a policy until then');
    offer(await sign(5, 2));
    const serving = startInBackground(
      process.execPath,
      [agentProgram, '--config', join(folder, 'agent.yaml'), 'serve'],
      {
        logFile: join(folder, 'serve.log'),
      },
    );
    open.push(async () => await serving.stop());
    await until('the guest is known', async () => {
      if (serving.hasEnded()) throw new Error(serving.output());
      return (await agent('guest', 'list')).stdout.includes('101');
    });
    expect((await agent('config', 'check', '--json')).json).toMatchObject({ ok: true, guests: [101] });
  });

  it('can be checked before they are offered, and a file with a mistake is not signed', async () => {
    const { agent, folder, sign, agentId } = world;
    const good = join(folder, await sign(5, 3));
    expect(await agent('desired', 'verify', good, '--json')).toMatchObject({
      code: 0,
      json: { serial: 5, guests: [101] },
    });
    const foreign = join(folder, await sign(6, 3, 'f'.repeat(32)));
    expect(await agent('desired', 'verify', foreign, '--json')).toMatchObject({
      code: 13,
      json: { error: { code: 'policy_refused', reason: 'other_agent' } },
    });
    await writeFile(join(folder, 'files', '102.yaml'), 'vmid: 102\ndesired: { coers: 3 }\n');
    const flags = ['--key', join(folder, 'key'), '--agent', await agentId()];
    const mistaken = await agent('desired', 'sign', join(folder, 'files'), ...flags);
    expect(mistaken.code).toBe(2);
    expect(mistaken.stderr).toMatch(/102\.yaml:2:12: desired\.coers: unknown key, did you mean desired\.cores\?/);
    expect(mistaken.stderr).toContain('nothing was signed');
  });
});
