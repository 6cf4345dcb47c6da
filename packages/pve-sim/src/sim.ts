import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type ClusterFolder, guestPlace, openCluster } from './cluster/cluster-folder.ts';
import { recordedDelays } from './delays.ts';
import { type Faults, openFaults } from './faults.ts';
import { adoptGuests, type GuestStore, openGuests } from './guests/guest-store.ts';
import { powerLocks } from './guests/power-lock.ts';
import { isSubvolume } from './guests/volume-snapshot.ts';
import { handle } from './http/api-handler.ts';
import { listen } from './http/listener.ts';
import type { SimNode } from './node.ts';
import type { GuestSpec, PveSimOptions, TokenSpec } from './options.ts';
import { killWorkers } from './routes/sim-control.ts';
import { nodeCertificate } from './state/certificate.ts';
import { readText, writeWhole } from './state/files.ts';
import { taskRunner } from './tasks/task-runner.ts';
import { openTasks, type TaskStore } from './tasks/task-store.ts';
import { openWorkerPool } from './tasks/worker-pool.ts';

const fullTokenId = 'root@pam!sim';
const defaultSpareWorkers = 2;

/** A running simulated node. */
export interface PveSim {
  /** `https://host:port`, without a path. */
  url: string;
  /** The full token, as it stands behind `PVEAPIToken=`. */
  token: string;
  /** SHA-256 of the certificate, `AB:CD:…`. */
  fingerprint: string;
  node: string;
  faults: Faults;
  guests: GuestStore;
  /** What it shares with the other nodes; null: it is alone. */
  cluster: ClusterFolder | null;
  tasks: TaskStore;
  /** kill -9 of every vzdump worker that runs (of one guest when given); answers their pids. */
  killWorkers(vmid?: number): number[];
  /** Closes every connection and ends. Vzdump workers live on, as on a real node. */
  stop(): Promise<void>;
}

/**
 * Starts a simulated Proxmox VE 9 node over TLS. Everything it knows is in `options.state`: a second
 * start on the same folder, after a stop or a kill -9, goes on with guests, tasks, locks, faults,
 * token and certificate. Throws when the address is taken or `openssl` is missing.
 */
export async function startPveSim(options: PveSimOptions): Promise<PveSim> {
  mkdirSync(options.state, { recursive: true, mode: 0o700 });
  const certificate = nodeCertificate(options.state, options.node);
  const full = fullToken(options.cluster === undefined ? options.state : join(options.cluster, '.sim'));
  const cluster = options.cluster === undefined ? null : openCluster(options.cluster);
  const tasks = openTasks(options.state, randomUUID());
  const node: SimNode = {
    name: options.node,
    state: options.state,
    options,
    delays: options.delays ?? recordedDelays,
    tokens: [full, ...(options.tokens ?? [])],
    fingerprint: certificate.fingerprint,
    storages: options.storages,
    guestSpecs: options.guests,
    guests: openGuests(guestPlace({ state: options.state, node: options.node, cluster: options.cluster ?? null })),
    cluster,
    tasks,
    runner: taskRunner(tasks, options.node),
    workers: openWorkerPool(options.spareWorkers ?? defaultSpareWorkers),
    faults: openFaults(options.state),
    power: powerLocks(),
    warn: options.warn ?? ((line) => process.stderr.write(`pve-sim: ${line}\n`)),
    startedAtMs: Date.now(),
  };
  for (const storage of options.storages) mkdirSync(storage.dir, { recursive: true });
  for (const guest of options.guests) mkdirSync(guest.dir, { recursive: true });
  adoptGuests(node.guests, guestsOfOurs(node));
  await warnOfCopies(node);
  const listener = await listen(options.listen, certificate, (request, response) => {
    handle(node, request, response).catch((error: unknown) => {
      node.warn(error instanceof Error ? (error.stack ?? error.message) : String(error));
      response.socket?.destroy();
    });
  });
  const url = `https://${listener.host}:${listener.port}`;
  cluster?.join({ name: options.node, url, fingerprint: certificate.fingerprint });
  return {
    url,
    token: `${full.id}=${full.secret}`,
    fingerprint: certificate.fingerprint,
    node: options.node,
    faults: node.faults,
    guests: node.guests,
    cluster,
    tasks,
    killWorkers: (vmid) => killWorkers(node, vmid),
    stop: async () => {
      node.workers.close();
      await listener.close();
    },
  };
}

/** A guest that has moved to another node of the cluster is not made anew here. */
function guestsOfOurs({ name, cluster, guestSpecs }: SimNode): readonly GuestSpec[] {
  if (cluster === null) return guestSpecs;
  return guestSpecs.filter(({ vmid }) => [null, name].includes(cluster.whereIs(vmid)));
}

/** Where the folder of a guest cannot be snapshotted a copy serves, which is good for a demonstration and for nothing that is timed. */
async function warnOfCopies(node: SimNode): Promise<void> {
  const dirs = new Map(node.guests.list().map(({ vmid, dir }) => [dir, vmid]));
  for (const [dir, vmid] of dirs) {
    if (existsSync(dir) && (await isSubvolume(dir))) continue;
    node.warn(`${dir} (guest ${vmid}) is no btrfs subvolume: its snapshots are copies; never benchmark them`);
  }
}

/** Made once and kept, one for all nodes of a cluster: a token of root@pam, which may do all but what only root@pam itself may. */
function fullToken(folder: string): TokenSpec {
  const path = join(folder, 'token');
  const known = readText(path)?.trim();
  const secret = known === undefined || known === '' ? randomUUID() : known;
  if (known !== secret) writeWhole(path, `${secret}\n`);
  return { id: fullTokenId, secret, privileges: { '/': ['*'] } };
}
