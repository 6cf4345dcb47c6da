import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@felhom/cli/log.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { noDelays } from '@felhom/pve-sim/delays.ts';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { call } from '@felhom/pve-sim/testing/world.ts';
import { type AgentConfig, agentConfigSchema } from 'felhom-agent/config.ts';
import { changeHint } from 'felhom-agent/reconcile/change-hint.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import type { ReconcileNode, ReconcilePorts } from 'felhom-agent/reconcile/ports.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { versionListIn } from 'felhom-agent/reconcile/version-list.ts';
import { type OpenReconcile, openReconcile } from 'felhom-agent/reconcile/wiring.ts';
import { stringify } from 'yaml';
import { until } from '../agent/rig.ts';

export const fullReadMs = 600_000;

/** A node of the cluster with its agent: one process, many passes. */
export interface ClusterNode {
  sim: PveSim;
  config: AgentConfig;
  /** One pass; `reads` holds the guests whose configurations it read. */
  pass(meddle?: (pve: ReconcileNode) => ReconcileNode): Promise<PassReport & { reads: number[] }>;
  /** What this agent did to guests, by its journal: `101 configure done`. */
  done(): Promise<string[]>;
}

export interface Cluster {
  folder: string;
  /** Stands for /etc/pve. */
  pve: string;
  one: ClusterNode;
  two: ClusterNode;
  /** What every agent reads: the folder of guests lies in the cluster's own filesystem. */
  declare(vmid: number, desired: Record<string, unknown>): Promise<void>;
  migrate(vmid: number, from: ClusterNode, to: ClusterNode): Promise<void>;
  /** Lets time go by for the version lists' memory, milliseconds. */
  wait(ms: number): void;
  close(): Promise<void>;
}

/** pve1 has 101 and 103, pve2 has 102: containers that run, with two cores. */
export async function openCluster(): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-cluster-'));
  const pve = join(folder, 'pve');
  const guests = join(pve, 'felhom', 'guests.d');
  await mkdir(guests, { recursive: true });
  let waitedMs = 0;
  const opened: { sim: PveSim; agent: OpenReconcile }[] = [];
  const node = async (name: string, vmids: readonly number[]): Promise<ClusterNode> => {
    const sim = await startNode(folder, name, vmids);
    const config = await writeConfig(folder, sim, guests);
    const agent = await openReconcile(config, {
      log: silentLog,
      onFatal: (failure) => {
        throw failure;
      },
    });
    opened.push({ sim, agent });
    const changes = changeHint({
      node: name,
      readList: versionListIn(config.cluster_files, systemClock),
      clock: { monotonicMs: () => waitedMs },
      fullReadMs,
    });
    return {
      sim,
      config,
      pass: async (meddle = (pveNode) => pveNode) => await pass({ ...agent.ports, changes }, agent, config, meddle),
      done: async () =>
        (await agent.ports.journal.entries()).map(
          ({ intent, end }) => `${intent.vmid} ${intent.action.kind} ${end?.outcome ?? 'open'}`,
        ),
    };
  };
  const [one, two] = [await node('pve1', [101, 103]), await node('pve2', [102])];
  return {
    folder,
    pve,
    one,
    two,
    declare: async (vmid, desired) =>
      await writeFile(join(guests, `${vmid}.yaml`), stringify({ vmid, desired }), { mode: 0o640 }),
    migrate: async (vmid, from, to) => {
      const params = { target: to.sim.node, restart: 1 };
      const answer = await call(from.sim, 'POST', `/api2/json/nodes/localhost/lxc/${vmid}/migrate`, params);
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.reason}`);
      await until('the guest has moved', () => from.sim.tasks.end(String(answer.json?.data)) !== null);
    },
    wait: (ms) => {
      waitedMs += ms;
    },
    close: async () => {
      for (const { sim, agent } of opened) {
        await agent.close();
        await until('the node is idle', () => sim.tasks.list().every(({ upid }) => sim.tasks.end(upid) !== null));
        await sim.stop();
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startNode(folder: string, name: string, vmids: readonly number[]): Promise<PveSim> {
  return await startPveSim({
    listen: '127.0.0.1:0',
    state: join(folder, `sim-${name}`),
    node: name,
    cluster: join(folder, 'pve'),
    guests: vmids.map((vmid) => ({ vmid, dir: join(folder, String(vmid)) })),
    storages: [],
    authDelayMs: 0,
    spareWorkers: 0,
    delays: noDelays,
    warn: () => {},
  });
}

async function writeConfig(folder: string, sim: PveSim, guests: string): Promise<AgentConfig> {
  const tokenFile = join(folder, `token-${sim.node}`);
  await writeFile(tokenFile, sim.token, { mode: 0o600 });
  return agentConfigSchema.parse({
    node: sim.node,
    pve: { url: sim.url, token_file: tokenFile, fingerprint: sim.fingerprint },
    state: join(folder, `state-${sim.node}`),
    guests,
    cluster_files: join(folder, 'pve'),
    bounds: { lock_poll: '20ms', lost_start: '400ms', task_poll: '30ms', shutdown: '2s', stop_grace: '1s' },
  });
}

async function pass(
  ports: ReconcilePorts,
  { limits }: OpenReconcile,
  config: AgentConfig,
  meddle: (pve: ReconcileNode) => ReconcileNode,
): Promise<PassReport & { reads: number[] }> {
  const reads: number[] = [];
  const { guests } = ports.pve;
  const pending: typeof guests.pending = async (ref, options) => {
    reads.push(ref.vmid);
    return await guests.pending(ref, options);
  };
  const report = await runPass(
    { ...ports, pve: meddle({ ...ports.pve, guests: { ...guests, pending } }) },
    {
      limits,
      vmids: null,
      allowStops: null,
      allowMemoryBelowUse: false,
      lockTimeoutMs: config.bounds.lock_timeout,
      stop: new AbortController().signal,
    },
  );
  return { ...report, reads };
}
