import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@felhom/cli/log.ts';
import type { GuestSpec, TokenSpec } from '@felhom/pve-sim/options.ts';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { type AgentConfig, agentConfigSchema } from 'felhom-agent/config.ts';
import type { PassOptions } from 'felhom-agent/reconcile/pass.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { type OpenReconcile, openReconcile } from 'felhom-agent/reconcile/wiring.ts';
import { stringify } from 'yaml';
import { until } from './rig.ts';

export interface ReconcileRigOptions {
  guests: readonly (Omit<GuestSpec, 'dir'> & { desired?: Record<string, unknown> })[];
  bounds?: Record<string, string>;
  limits?: Record<string, number>;
  /** Another token than the full one. */
  token?: TokenSpec;
}

/** Reconcile in this process over a simulated node, with files of guests that a test writes. */
export interface ReconcileRig {
  folder: string;
  sim: PveSim;
  config: AgentConfig;
  configFile: string;
  declare(vmid: number, desired: Record<string, unknown>, more?: Record<string, unknown>): Promise<void>;
  /** One pass as `reconcile --once` does it, with a journal of its own, as another process would have. */
  pass(options?: Partial<PassOptions>): Promise<PassReport>;
  /** The ports of one process, until the rig is closed. */
  open(): Promise<OpenReconcile>;
  fault(order: Record<string, unknown>): Promise<void>;
  /** A call of a person: another token than the agent's. */
  person(method: string, path: string, form?: Record<string, string>): Promise<unknown>;
  /** The tasks of the node in the order of their start: `vzstart 101 felhom@pve!agent`. */
  tasks(): string[];
  running(vmid: number): boolean;
  close(): Promise<void>;
}

const person: TokenSpec = { id: 'root@pam!person', secret: 'person-secret', privileges: { '/': ['*'] } };
const agent: TokenSpec = { id: 'felhom@pve!agent', secret: 'agent-secret', privileges: { '/': ['*'] } };
const quick = {
  lock_poll: '20ms',
  lock_timeout: '1s',
  lost_start: '400ms',
  task_poll: '30ms',
  shutdown: '2s',
  stop_grace: '10s',
};

export async function openReconcileRig(options: ReconcileRigOptions): Promise<ReconcileRig> {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-reconcile-'));
  await mkdir(join(folder, 'guests.d'), { recursive: true });
  const token = options.token ?? agent;
  const sim = await startPveSim({
    listen: '127.0.0.1:0',
    state: join(folder, 'sim'),
    node: 'pve1',
    guests: options.guests.map(({ desired: _desired, ...guest }) => ({
      ...guest,
      dir: join(folder, String(guest.vmid)),
    })),
    storages: [],
    tokens: [person, token],
    authDelayMs: 0,
    spareWorkers: 0,
    delays: {
      workerStartMs: 0,
      jobStartMs: 0,
      backupStartMs: 0,
      preStopMs: 0,
      snapshotMs: 0,
      finishMs: 0,
      powerMs: 30,
    },
    warn: () => {},
  });
  const tokenFile = join(folder, 'pve-token');
  await writeFile(tokenFile, `${token.id}=${token.secret}`, { mode: 0o600 });
  const written = {
    listen: '127.0.0.1:0',
    node: sim.node,
    pve: { url: sim.url, token_file: tokenFile, fingerprint: sim.fingerprint },
    state: join(folder, 'state'),
    socket: join(folder, 'agent.sock'),
    guests: join(folder, 'guests.d'),
    limits: options.limits ?? {},
    bounds: { ...quick, ...options.bounds },
  };
  const configFile = join(folder, 'agent.yaml');
  await writeFile(configFile, stringify(written));
  const config = agentConfigSchema.parse(written);
  const opened: OpenReconcile[] = [];
  const open = async (): Promise<OpenReconcile> => {
    const one = await openReconcile(config, {
      log: silentLog,
      onFatal: (failure) => {
        throw failure;
      },
    });
    opened.push(one);
    return one;
  };
  const declare: ReconcileRig['declare'] = async (vmid, desired, more = {}) =>
    await writeFile(join(folder, 'guests.d', `${vmid}.yaml`), stringify({ vmid, desired, ...more }));
  for (const { vmid, desired } of options.guests) if (desired !== undefined) await declare(vmid, desired);
  return {
    folder,
    sim,
    config,
    configFile,
    declare,
    open,
    pass: async (more = {}) => {
      const { ports, limits } = await open();
      return await runPass(ports, {
        limits,
        vmids: null,
        allowStops: null,
        allowMemoryBelowUse: false,
        lockTimeoutMs: config.bounds.lock_timeout,
        stop: new AbortController().signal,
        ...more,
      });
    },
    fault: async (order) => void sim.faults.order(order as Parameters<typeof sim.faults.order>[0]),
    person: async (method, path, form) => await call(sim, method, path, form),
    tasks: () => sim.tasks.list().map(({ type, id, user }) => `${type} ${id} ${user}`),
    running: (vmid) => sim.guests.get(vmid)?.running === true,
    close: async () => {
      for (const one of opened) await one.close();
      sim.faults.clear();
      await until('the node is idle', () => sim.tasks.list().every(({ upid }) => sim.tasks.end(upid) !== null));
      await sim.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function call(sim: PveSim, method: string, path: string, form: Record<string, string> = {}): Promise<unknown> {
  const { createPveHttp } = await import('@felhom/proxmox/http.ts');
  const { z } = await import('zod');
  const http = createPveHttp({
    url: sim.url,
    token: `${person.id}=${person.secret}`,
    tls: { kind: 'fingerprint', fingerprint: sim.fingerprint },
  });
  try {
    const asMethod = method === 'PUT' || method === 'POST' || method === 'DELETE' ? method : 'GET';
    return (await http.call({ method: asMethod, path: `/nodes/pve1${path}`, params: form, schema: z.unknown() })).data;
  } finally {
    await http.close();
  }
}
