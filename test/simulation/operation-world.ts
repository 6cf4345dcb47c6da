import { sealEnvelope } from '@felhom/signed-document/envelope.ts';
import { formatKeyLine, generateSigningKey, parseKeyLine, type SignerKey } from '@felhom/signed-document/keys.ts';
import { type Applied, applyOperation } from 'felhom-agent/operations/apply.ts';
import { formatMoment, operationPayloadType } from 'felhom-agent/operations/payload.ts';
import type { Act, OperationPorts, OperationStore } from 'felhom-agent/operations/ports.ts';
import { isOpen, type Operation, type OperationsFile, operationsSchema } from 'felhom-agent/operations/record.ts';
import { recoverOperations } from 'felhom-agent/operations/recover.ts';
import { type CrashPoint, type Doom, doom } from './doom.ts';
import { type OperationNode, operationNode, quietNode } from './operation-node.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/*
 * Operations in a world of their own: a node in memory, a record that survives, and processes of the agent that come
 * and die. A process's lanes are freed when it dies, as the kernel frees flocks.
 */

const signing = generateSigningKey();
export const agentId = '0123456789abcdef'.repeat(2);

export function signerOf(key: { publicKey: SignerKey['publicKey'] }, name: string): SignerKey {
  const signer = parseKeyLine(formatKeyLine(key.publicKey, name));
  if (signer === null) throw new Error('that is no key line');
  return signer;
}

export const signers = [signerOf(signing, 'anna')];
export const startMs = Date.UTC(2026, 10, 24, 22, 0, 0);

export type Fields = Record<string, unknown>;

/** The fields of every operation in the quiet world. */
export function commonFields(nowMs = startMs): Fields {
  return {
    agent: agentId,
    vmid: 101,
    nonce: 'ab'.repeat(16),
    not_before: formatMoment(nowMs - 60_000),
    expires: formatMoment(nowMs + 3_600_000),
    idempotency_key: 'once',
  };
}

const guestTarget = { kind: 'lxc', config_digest: 'a'.repeat(40), root_volume: 'local:101/vm-101-disk-0.raw' };
const archive = { volid: 'bk:backup/vzdump-lxc-101-2026_11_20-01_00_00.tar.zst', size_bytes: 31_108_454 };

export const operations = {
  'backup-delete': { operation: 'backup-delete', target: archive },
  'guest-destroy': { operation: 'guest-destroy', target: guestTarget, purge: false, unreferenced_disks: false },
  'snapshot-rollback': {
    operation: 'snapshot-rollback',
    target: { kind: 'lxc', snapshot: 'before', snapshot_time: 1_795_000_000 },
    start: true,
  },
  'guest-restore': {
    operation: 'guest-restore',
    target: guestTarget,
    archive,
    storage: null,
    safety_backup: { storage: 'bk' },
    archive_check: 'whole',
    start: false,
  },
} as const;

/** A signed envelope of these fields, whatever they are. */
export function signed(fields: Fields, key = signing, payloadType = operationPayloadType): Buffer {
  return signedText(JSON.stringify(fields), key, payloadType);
}

/** The same of any text. */
export function signedText(text: string, key = signing, payloadType = operationPayloadType): Buffer {
  return Buffer.from(sealEnvelope(payloadType, Buffer.from(text), [key]));
}

export interface World {
  clock: VirtualClock;
  node: OperationNode;
  /** What is durably on record. */
  record(): OperationsFile;
  /** A process, which dies at `point`. */
  process(point: CrashPoint | null): Process;
  adopted: number[];
  archivesRead: string[];
  /** What happens while an archive is read. */
  whileReading: () => void;
}

export interface Process {
  life: Doom;
  ports: OperationPorts;
  apply(envelope: Uint8Array, signersOf?: readonly SignerKey[]): Promise<Applied | 'died'>;
  recover(): Promise<Operation[] | 'died'>;
}

export function operationWorld(): World {
  const clock = virtualClock(startMs);
  let text = JSON.stringify({ agent_id: agentId, high_water_ms: 0, operations: [] });
  const record = (): OperationsFile => operationsSchema.parse(JSON.parse(text));
  const store: OperationStore = {
    read: async () => record(),
    change: async (how) => {
      const { file, answer } = how(record());
      text = JSON.stringify(operationsSchema.parse(file));
      return answer;
    },
  };
  const adopted: number[] = [];
  const archivesRead: string[] = [];
  const node = operationNode(clock, quietNode(), (act) => objection(act, record(), archivesRead, node));
  const lanes = new Map<number, symbol>();
  let ids = 0;

  const portsOf = (life: Doom, us: symbol): OperationPorts => {
    const through = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
      return async (...args: A): Promise<R> => await life.effect(name, async () => await call(...args));
    };
    const { pve } = node;
    return {
      store: {
        read: through('store.read', store.read),
        change: async (how) => await life.effect('store.change', async () => await store.change(how)),
      },
      pve: {
        node: pve.node,
        guest: through('pve.guest', pve.guest),
        snapshots: through('pve.snapshots', pve.snapshots),
        backup: through('pve.backup', pve.backup),
        clockSeconds: through('pve.clockSeconds', pve.clockSeconds),
        start: through('pve.start', pve.start),
        find: through('pve.find', pve.find),
        follow: through('pve.follow', pve.follow),
        startGuest: through('pve.startGuest', pve.startGuest),
      },
      lanes: {
        tryGuest: through('lanes.tryGuest', async (vmid) => {
          if (lanes.has(vmid)) return null;
          lanes.set(vmid, us);
          return { release: through('lane.release', async () => void lanes.delete(vmid)) };
        }),
        heldBy: through('lanes.heldBy', async () => null),
      },
      archives: {
        read: through('archives.read', async ({ volid }) => {
          archivesRead.push(volid);
          world.whileReading();
          return { kind: 'whole', how: 'in memory' } as const;
        }),
      },
      adoption: {
        adopt: through('adoption.adopt', async (vmid) => {
          adopted.push(vmid);
          return null;
        }),
      },
      clock: {
        ...clock,
        sleep: async (ms, signal) => {
          await clock.sleep(ms, signal);
          if (life.isDead()) await new Promise(() => undefined);
        },
      },
      newId: () => {
        ids += 1;
        return `op-${ids}`;
      },
      say: () => undefined,
      bounds: { lostStartMs: 35_000, giveUpMs: 90_000, everyMs: 1_000 },
    };
  };

  const world: World = {
    clock,
    node,
    record,
    adopted,
    archivesRead,
    whileReading: () => undefined,
    process: (point) => {
      const us = Symbol('process');
      const life = doom(point, clock, { untilMs: 0 }, () => {
        for (const [vmid, holder] of lanes) if (holder === us) lanes.delete(vmid);
      });
      const ports = portsOf(life, us);
      const orDeath = async <T>(work: Promise<T>): Promise<T | 'died'> =>
        await clock.run(Promise.race([work, life.died]));
      return {
        life,
        ports,
        apply: async (envelope, by = signers) =>
          await orDeath(applyOperation(ports, envelope, { signers: by, lockTimeoutMs: 5_000 })),
        recover: async () => await orDeath(recoverOperations(ports)),
      };
    },
  };
  return world;
}

/** What must be on record before an act is asked for; null when it is. */
function objection(
  act: Act,
  { operations: known }: OperationsFile,
  read: readonly string[],
  node: OperationNode,
): string | null {
  const open = known.filter((each) => isOpen(each) && each.payload.vmid === act.vmid);
  const [only] = open;
  const step = only?.steps.at(-1);
  if (only === undefined || open.length > 1)
    return `${act.kind} was asked for with ${open.length} open operations on record`;
  if (step?.act !== act.kind || step.upid !== null || step.end !== null)
    return `${act.kind} was asked for without its intent on record`;
  if (act.kind !== 'restore') return null;
  if (!read.includes(act.volid)) return 'the guest was overwritten before the backup was read';
  const safe = node.state.backups.some(({ volid, protected: kept }) => volid.includes('safety') && kept);
  return safe ? null : 'the guest was overwritten without a protected backup of it';
}
