import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPveClient, type PveClient } from '@felhom/proxmox/client.ts';
import type { GuestKind, GuestRef } from '@felhom/proxmox/guests.ts';
import { parseVmid } from '@felhom/proxmox/upid.ts';
import type { PveSimOptions } from '@felhom/pve-sim/options.ts';
import { startPveSim } from '@felhom/pve-sim/sim.ts';
import { type RawAnswer, type RawRequest, rawDoor } from './raw-request.ts';

/** A node that the suite runs against: a simulated one, or any real one named by the environment. */
export interface ContractNode {
  pve: PveClient;
  url: string;
  token: string;
  fingerprint: string;
  storage: string;
  /** A guest that runs, and that the suite may back up, stop and start. */
  guest: GuestRef;
  raw(request: RawRequest): Promise<RawAnswer>;
  /** The same with the token, below `/api2/json`. */
  api(request: RawRequest): Promise<RawAnswer>;
  close(): Promise<void>;
}

export interface ContractTarget {
  name: string;
  open(): Promise<ContractNode>;
}

interface Credentials {
  url: string;
  token: string;
  fingerprint: string;
  node: string;
}

const variables = ['URL', 'TOKEN', 'FINGERPRINT', 'NODE', 'STORAGE', 'TEST_VMID'] as const;

/** The real node that the environment names, or the variables that are missing for it. */
export function realTarget(): ContractTarget | { missing: readonly string[] } {
  const values = variables.map((name) => process.env[`FELHOM_PVE_${name}`] ?? '');
  const missing = variables.filter((_, at) => values[at] === '').map((name) => `FELHOM_PVE_${name}`);
  if (missing.length > 0) return { missing };
  const [url = '', token = '', fingerprint = '', node = '', storage = '', vmid = ''] = values;
  const open = (): Promise<ContractNode> =>
    openNode({ url, token, fingerprint, node }, storage, Number(vmid), async () => undefined);
  return { name: `the node ${node}`, open };
}

interface Shape {
  kind: GuestKind;
  storage?: 'dir' | 'pbs';
  snapshots?: boolean;
}

const testVmid = 101;

/** A simulated node of its own, with a guest and a storage of the given shape. */
export function simulatedTarget(what: string, { kind, storage = 'dir', snapshots = true }: Shape): ContractTarget {
  return {
    name: `a simulated node: ${what}`,
    open: async () => {
      const folder = await mkdtemp(join(tmpdir(), 'felhom-contract-'));
      const sim = await startPveSim(await simulatedNode(folder, { kind, storage, snapshots }));
      return openNode(sim, 'bk', testVmid, async () => {
        await sim.stop();
        await rm(folder, { recursive: true, force: true, maxRetries: 5 });
      });
    },
  };
}

async function simulatedNode(folder: string, { kind, storage, snapshots }: Required<Shape>): Promise<PveSimOptions> {
  const dir = await mkdtemp(join(folder, 'guest-'));
  await writeFile(join(dir, 'data'), 'what the guest holds\n'.repeat(2_000));
  return {
    listen: '127.0.0.1:0',
    state: join(folder, 'state'),
    node: 'pve1',
    guests: [{ vmid: testVmid, dir, kind, name: 'contract', snapshots }],
    storages: [{ id: 'bk', dir: join(folder, 'bk'), kind: storage }],
    authDelayMs: 50,
    // That a snapshot of a plain folder is a copy is no news here.
    warn: () => undefined,
  };
}

async function openNode(
  at: Credentials,
  storage: string,
  vmid: number,
  stop: () => Promise<void>,
): Promise<ContractNode> {
  const { url, token, fingerprint, node } = at;
  const pve = createPveClient({ url, token, node, tls: { kind: 'fingerprint', fingerprint } });
  const found = (await pve.guests.list()).find((guest) => guest.vmid === vmid);
  if (found === undefined) throw new Error(`the contract suite needs guest ${vmid} on ${node}`);
  if (!found.running) throw new Error(`the contract suite needs guest ${vmid} on ${node} to run`);
  const raw = rawDoor(url, fingerprint);
  return {
    pve,
    url,
    token,
    fingerprint,
    storage,
    guest: { vmid: parseVmid(vmid), kind: found.kind },
    raw,
    api: ({ path, headers = {}, ...request }) =>
      raw({ ...request, path: `/api2/json${path}`, headers: { authorization: `PVEAPIToken=${token}`, ...headers } }),
    close: async () => {
      await pve.close();
      await stop();
    },
  };
}
