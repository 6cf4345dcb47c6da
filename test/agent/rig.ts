import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@felhom/cli/log.ts';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import { createAgentClient } from '@felhom/guest-api/client.ts';
import { memoryGeneration } from '@felhom/guest-api/generation.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { GuestSpec, StorageSpec } from '@felhom/pve-sim/options.ts';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { agentConfigSchema, guestFileSchema } from 'felhom-agent/config.ts';
import { hashToken, newToken } from 'felhom-agent/serve/auth.ts';
import { type RunningAgent, startAgent } from 'felhom-agent/wiring.ts';
import { hookSource } from '../lab/programs.ts';

/** What a test changes of the usual host: one node, guest 101 with a token, storage `bk`, the hook gate. */
export interface RigOptions {
  gate?: 'hook' | 'log';
  agent?: Record<string, unknown>;
  bounds?: Record<string, string>;
  guest?: Record<string, unknown>;
  guestSpec?: Partial<GuestSpec>;
  moreGuests?: readonly number[];
  storage?: Partial<StorageSpec>;
  /** Keeps the hook out of vzdump.conf although the gate is the hook's. */
  hookMissing?: boolean;
}

/** The agent in this process over a simulated node, with the real hook. */
export interface Rig {
  folder: string;
  sim: PveSim;
  agent: RunningAgent;
  socket: string;
  token: string;
  /** A new client of a guest; its own boot and generation. */
  client(options?: { vmid?: number; bootId?: string; generation?: string | null; token?: string }): AgentApi;
  tokenOf(vmid: number): string;
  /** Stops the agent and starts it anew on the same folders. */
  restart(): Promise<void>;
  /** Orders a fault of the simulator. */
  fault(order: Record<string, unknown>): Promise<void>;
  close(): Promise<void>;
}

export const quickBounds = {
  watcher: '90s',
  claim: '3s',
  lease: '3s',
  hold_max: '10s',
  resume_hold: '200ms',
  lost_start: '2s',
  operator_claim: '1s',
  min_interval: '0s',
  storage_cache: '0s',
  task_poll: '50ms',
  owed_retry: '100ms',
  notes_retry: '200ms',
  guest_cache: '0s',
};

/** A simulated node with its hook, in a folder of its own. */
export interface SimulatedNode {
  folder: string;
  sim: PveSim;
  socket: string;
  vmids: readonly number[];
  close(): Promise<void>;
}

export type NodeOptions = Pick<RigOptions, 'gate' | 'guestSpec' | 'moreGuests' | 'storage' | 'hookMissing'>;

export async function openNode(options: NodeOptions = {}): Promise<SimulatedNode> {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-agent-'));
  const vmids = [101, ...(options.moreGuests ?? [])];
  const socket = join(folder, 'agent.sock');
  await writeHook(folder, socket, options);
  await Promise.all(vmids.map(async (vmid) => await fillGuest(folder, vmid)));
  const sim = await startPveSim({
    listen: '127.0.0.1:0',
    state: join(folder, 'sim'),
    node: 'pve1',
    guests: vmids.map((vmid) => ({
      vmid,
      dir: join(folder, String(vmid)),
      name: `docker${vmid}`,
      ...options.guestSpec,
    })),
    storages: [{ id: 'bk', dir: join(folder, 'bk'), ...options.storage }],
    vzdumpConf: join(folder, 'vzdump.conf'),
    authDelayMs: 0,
    warn: () => {},
  });
  return {
    folder,
    sim,
    socket,
    vmids,
    close: async () => {
      // Whatever still runs on the simulated node writes into the folder that goes now.
      sim.faults.clear();
      sim.killWorkers();
      await until('the node is idle', () => sim.tasks.list().every((task) => sim.tasks.end(task.upid) !== null)).catch(
        () => undefined,
      );
      await sim.stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

export async function openRig(options: RigOptions = {}): Promise<Rig> {
  const node = await openNode(options);
  const { folder, sim, socket, vmids } = node;
  const tokens = new Map(vmids.map((vmid) => [vmid, newToken()]));
  const loaded = await configure(folder, socket, sim, { options, tokens });
  const start = async (): Promise<RunningAgent> => await startAgent(loaded, { log: silentLog, onFatal: () => {} });
  let agent = await start();
  const clients: AgentApi[] = [];
  const tokenOf = (vmid: number): string => tokens.get(vmid) ?? '';
  return {
    folder,
    sim,
    socket,
    tokenOf,
    token: tokenOf(101),
    get agent() {
      return agent;
    },
    client: ({ vmid = 101, bootId = 'boot-1', generation = null, token } = {}) => {
      const { url, fingerprint } = agent.serving;
      const made = createAgentClient({
        agents: [{ url, fingerprint }],
        token: token ?? tokenOf(vmid),
        generation: memoryGeneration(generation),
        bootId,
      });
      clients.push(made);
      return made;
    },
    restart: async () => {
      await agent.stop();
      agent = await start();
    },
    fault: async (order) => await orderFault(sim, order),
    close: async () => {
      await Promise.all(clients.map(async (client) => await client.close()));
      await agent.stop();
      await node.close();
    },
  };
}

async function writeHook(
  folder: string,
  socket: string,
  { gate = 'hook', hookMissing = false }: NodeOptions,
): Promise<void> {
  const hook = join(folder, 'felhom-vzdump-hook');
  await symlink(hookSource, hook);
  await writeFile(join(folder, 'hook.conf'), `socket=${socket}\n`);
  await writeFile(join(folder, 'vzdump.conf'), gate === 'log' || hookMissing ? '' : `script: ${hook}\n`);
}

async function fillGuest(folder: string, vmid: number): Promise<void> {
  await mkdir(join(folder, String(vmid)), { recursive: true });
  await writeFile(join(folder, String(vmid), 'data'), `of ${vmid}\n`);
}

async function configure(
  folder: string,
  socket: string,
  sim: PveSim,
  { options, tokens }: { options: RigOptions; tokens: ReadonlyMap<number, string> },
) {
  const tokenFile = join(folder, 'pve-token');
  await writeFile(tokenFile, sim.token, { mode: 0o600 });
  const config = agentConfigSchema.parse({
    listen: '127.0.0.1:0',
    node: sim.node,
    pve: { url: sim.url, token_file: tokenFile, fingerprint: sim.fingerprint },
    state: join(folder, 'state'),
    socket,
    guests: join(folder, 'guests.d'),
    gate: options.gate ?? 'hook',
    vzdump_conf: join(folder, 'vzdump.conf'),
    preflight: { headroom: '1KiB' },
    defaults: { backup: { storage: 'bk', every: '1d' } },
    ...options.agent,
    bounds: { ...quickBounds, ...options.bounds },
  });
  // Reconcile reads what is declared from the files themselves.
  const declared = options.guest?.['desired'];
  await mkdir(join(folder, 'guests.d'), { recursive: true });
  if (declared !== undefined)
    for (const vmid of tokens.keys())
      await writeFile(join(folder, 'guests.d', `${vmid}.yaml`), JSON.stringify({ vmid, desired: declared }));
  const guests = [...tokens].map(([vmid, token]) =>
    guestFileSchema.parse({ vmid, token_sha256: hashToken(token), ...options.guest }),
  );
  return {
    file: join(folder, 'agent.yaml'),
    config,
    guests: new Map(guests.map((guest) => [guest.vmid, guest])),
    problems: [],
  };
}

export async function orderFault(sim: PveSim, order: Record<string, unknown>): Promise<void> {
  const { request, Agent } = await import('undici');
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(`${sim.url}/sim/faults`, {
      method: 'POST',
      dispatcher,
      headers: { authorization: `PVEAPIToken=${sim.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(order),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`the simulator refused ${JSON.stringify(order)}: ${text}`);
  } finally {
    await dispatcher.close();
  }
}

/** Follows a job as a controller does, until `enough` says so. Throws after `boundMs`. */
export async function followUntil(
  client: AgentApi,
  jobId: string,
  enough: (status: JobStatus) => boolean,
  boundMs = 20_000,
): Promise<JobStatus> {
  const deadline = performance.now() + boundMs;
  let after: number | undefined;
  for (;;) {
    const status = await client.status(jobId, { waitSeconds: 2, ...(after === undefined ? {} : { after }) });
    if (enough(status)) return status;
    if (performance.now() > deadline) throw new Error(`job ${jobId} stays ${status.phase}: ${JSON.stringify(status)}`);
    after = status.seq;
  }
}

export function isOver(status: JobStatus): boolean {
  return ['done', 'failed', 'cancelled'].includes(status.phase);
}

/** A report as a controller writes it after a good cycle. */
export function goodReport(runId: string) {
  return {
    run_id: runId,
    grade: 'app-consistent' as const,
    grade_reason: null,
    downtime_ms: 800,
    kept_running: [],
    timeline: [],
  };
}

/** Resolves when `check` answers something; throws after `boundMs`. */
export async function until<T>(
  what: string,
  check: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  boundMs = 15_000,
): Promise<T> {
  const deadline = performance.now() + boundMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false && value !== null) return value;
    if (performance.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** First line of the notes of the newest backup of a guest, as the simulated storage shows it. */
export async function newestNotes(rig: Rig, vmid = 101): Promise<string> {
  const items = await rig.agent.app.pve.backups('bk', vmid);
  return items.toSorted((left, right) => right.ctimeSeconds - left.ctimeSeconds)[0]?.notes ?? '';
}

export async function readFileIfAny(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}
