import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runMain } from '@felhom/cli/run-main.ts';
import { createPveClient, type PveClient } from '@felhom/proxmox/client.ts';
import type { GuestRef } from '@felhom/proxmox/guests.ts';
import { isUpid, parseVmid } from '@felhom/proxmox/upid.ts';
import { buildProgram } from 'felhom-agent/program.ts';
import { stringify } from 'yaml';
import { type NodeOptions, openNode, orderFault, quickBounds, type SimulatedNode, until } from '../agent/rig.ts';
import { type Background, startInBackground } from '../lab/process.ts';
import { agentProgram, buildPrograms } from '../lab/programs.ts';

type Json = Record<string, unknown>;
export interface Answer {
  code: number;
  stdout: string;
  stderr: string;
  json: Json;
}

/** A host with an agent's configuration and a signer, and the desk at which operations are signed. */
export interface Desk {
  node: SimulatedNode;
  pve: PveClient;
  guest: GuestRef;
  folder: string;
  /** The guest's files. */
  files: string;
  config: string;
  key: string;
  /** Everything that any program printed. */
  printed(): string;
  run(...args: string[]): Promise<Answer>;
  /** As a process of its own, to be killed. */
  background(...args: string[]): Promise<Background>;
  /** Signs by what the host says of the target; answers the file. */
  sign(what: string, ...args: string[]): Promise<string>;
  apply(file: string): Promise<Answer>;
  /** Takes a backup of the guest; answers its volume. */
  backup(): Promise<string>;
  stopGuest(): Promise<void>;
  snapshot(name: string): Promise<void>;
  fault(order: Json): Promise<void>;
  close(): Promise<void>;
}

export async function openDesk(options: NodeOptions = {}): Promise<Desk> {
  const gate = options.gate ?? 'log';
  const node = await openNode({ ...options, gate });
  const { folder, sim } = node;
  const config = join(folder, 'agent.yaml');
  const key = join(folder, 'anna.key');
  let printed = '';
  // In this process, as main.ts does it: to start a program for each would take most of the time.
  const program = async (...args: string[]): Promise<Answer> => {
    const texts = { stdout: '', stderr: '' };
    const output = (name: keyof typeof texts) => ({
      write: (text: string) => {
        texts[name] += text;
      },
      isTerminal: false,
      columns: 100,
    });
    const outputs = { stdout: output('stdout'), stderr: output('stderr') };
    const build = (setExit: (code: number) => void) => buildProgram({ setExit, ...outputs });
    const code = await runMain({ argv: ['--config', config, ...args], build, ...outputs });
    printed += texts.stdout + texts.stderr;
    const json: Json = args.includes('--json') && texts.stdout !== '' ? JSON.parse(texts.stdout) : {};
    return { code, ...texts, json };
  };
  await mkdir(join(folder, 'signers'), { mode: 0o700 });
  await writeConfig(node, config, gate);
  const made = await program('operation', 'keygen', '--out', key, '--name', 'anna', '--json');
  await writeFile(join(folder, 'signers/anna.pub'), `# of the test\n${String(made.json['public_key'])}\n`, {
    mode: 0o600,
  });
  const pve = createPveClient({
    url: sim.url,
    node: sim.node,
    token: sim.token,
    tls: { kind: 'fingerprint', fingerprint: sim.fingerprint },
  });
  const guest: GuestRef = { vmid: parseVmid(101), kind: options.guestSpec?.kind ?? 'lxc' };
  const ended = async (upid: string): Promise<void> => {
    if (!isUpid(upid)) throw new Error(`no task: ${upid}`);
    await until(`${upid} ended`, async () => (await pve.tasks.status(upid)).end !== null);
  };
  let signed = 0;
  return {
    node,
    pve,
    guest,
    folder,
    files: join(folder, '101'),
    config,
    key,
    printed: () => printed,
    run: program,
    background: async (...args) => {
      await buildPrograms();
      return startInBackground(process.execPath, [agentProgram, '--config', config, ...args], {
        logFile: join(folder, 'background.log'),
      });
    },
    sign: async (what, ...args) => {
      signed += 1;
      const file = join(folder, `signed-${signed}.json`);
      const end = await program('operation', 'sign', what, '101', '--from-agent', '--key', key, '--out', file, ...args);
      if (end.code !== 0) throw new Error(end.stderr);
      return file;
    },
    apply: async (file) => await program('operation', 'apply', file, '--json'),
    backup: async () => {
      const request = { vmid: guest.vmid, storage: 'bk', mode: 'snapshot', mark: 'of the test' } as const;
      const answer = await pve.vzdump.start(request);
      if (answer.kind !== 'started') throw new Error(answer.kind);
      await ended(answer.upid);
      return (await pve.storage.backups('bk'))[0]?.volid ?? '';
    },
    stopGuest: async () => await ended(await pve.guests.stop(guest)),
    snapshot: async (name) => {
      const { upid } = await raw(sim, `/nodes/pve1/${guest.kind}/101/snapshot`, { snapname: name });
      await ended(upid);
    },
    fault: async (order) => await orderFault(sim, order),
    close: async () => {
      await pve.close();
      await node.close();
    },
  };
}

async function writeConfig({ folder, sim, socket }: SimulatedNode, file: string, gate: 'hook' | 'log'): Promise<void> {
  await writeFile(join(folder, 'pve-token'), sim.token, { mode: 0o600 });
  const config = {
    node: sim.node,
    listen: '127.0.0.1:0',
    pve: { url: sim.url, token_file: join(folder, 'pve-token'), fingerprint: sim.fingerprint },
    state: join(folder, 'state'),
    socket,
    guests: join(folder, 'guests.d'),
    vzdump_conf: join(folder, 'vzdump.conf'),
    gate,
    signers: join(folder, 'signers'),
    defaults: { backup: { storage: 'bk' } },
    bounds: quickBounds,
  };
  await writeFile(file, stringify(config));
}

/** A call that the agent's client has not, because the agent never makes it. */
async function raw(sim: SimulatedNode['sim'], path: string, form: Record<string, string>): Promise<{ upid: string }> {
  const { request, Agent } = await import('undici');
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(`${sim.url}/api2/json${path}`, {
      method: 'POST',
      dispatcher,
      headers: { authorization: `PVEAPIToken=${sim.token}`, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(form).toString(),
    });
    const body: unknown = await answer.body.json();
    const data = typeof body === 'object' && body !== null && 'data' in body ? body.data : null;
    return { upid: String(data) };
  } finally {
    await dispatcher.close();
  }
}

export async function textOf(path: string): Promise<string | null> {
  return await readFile(path, 'utf8').catch(() => null);
}
