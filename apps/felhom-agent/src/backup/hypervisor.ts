import type { PveClient } from '@felhom/proxmox/client.ts';
import { isPveFault } from '@felhom/proxmox/errors.ts';
import { readMounts } from '@felhom/proxmox/guest-mounts.ts';
import { findLostStart } from '@felhom/proxmox/lost-start.ts';
import { isUpid, parseUpid, parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import type { VzdumpCompression } from '@felhom/proxmox/vzdump.ts';
import { emptyVzdumpLog, guestLog, readVzdumpLog } from '@felhom/proxmox/vzdump-log.ts';
import type { GuestLog, GuestNow, GuestVolumes, Hypervisor, LogReader, StorageNow, TaskNow } from './ports.ts';
import { PveProblem } from './ports.ts';

/** Storage types whose volumes make no snapshots whatever their format (pve-storage, Plugin.pm). `dir` and `nfs` depend on the format. */
const snapshotTypes = new Set(['zfspool', 'lvmthin', 'rbd', 'btrfs', 'cephfs']);
const noSnapshotTypes = new Set(['lvm', 'iscsi', 'iscsidirect']);

/** The node's PVE, as backup jobs need it. Errors become PveProblem, whose kind says what is known of the effect. */
export function createHypervisor(client: PveClient): Hypervisor {
  const toNow = (guest: Awaited<ReturnType<PveClient['guests']['list']>>[number]): GuestNow => ({
    vmid: guest.vmid,
    kind: guest.kind,
    name: guest.name,
    running: guest.running,
    lock: guest.lock,
  });
  const storage = async (name: string): Promise<StorageNow | null> => {
    try {
      const found = await client.storage.status(name);
      return {
        name,
        type: found.type,
        active: found.active,
        totalBytes: found.totalBytes,
        availableBytes: found.availableBytes,
      };
    } catch (error) {
      if (isPveFault(error, 'not-found')) return null;
      throw error;
    }
  };
  const calls: Hypervisor = {
    node: client.node,
    guests: async () => (await client.guests.list()).map(toNow),
    guest: async (vmid) => (await client.guests.list()).map(toNow).find((guest) => guest.vmid === vmid) ?? null,
    whereIs: async (vmid) => (await client.nodes.clusterGuests()).find((guest) => guest.vmid === vmid)?.node ?? null,
    volumes: async (guest) => await readVolumes(client, storage, guest),
    startBackup: async (request) => {
      const answer = await client.vzdump.start({
        ...request,
        vmid: parseVmid(request.vmid),
        compress: compression(request.compress),
      });
      if (answer.kind === 'refused') throw new PveProblem('refused', answer.error.text, answer.error);
      if (answer.kind === 'lost') throw new PveProblem('unknown', answer.error.message, answer.error);
      return answer;
    },
    findStarted: async (question) => await findLostStart(client.tasks, { ...question, vmid: parseVmid(question.vmid) }),
    tasks: async ({ vmid, sinceSeconds, source }) => {
      const list = await client.tasks.list({
        source,
        ...(vmid === undefined ? {} : { vmid: parseVmid(vmid) }),
        ...(sinceSeconds === undefined ? {} : { sinceSeconds }),
      });
      return list.map((task) => ({
        upid: task.upid,
        type: task.type,
        startSeconds: task.startSeconds,
        pid: parseUpid(task.upid).pid,
        running: task.end === null,
        status: task.end === null ? null : task.end.kind === 'ok' ? 'OK' : task.end.reason,
      }));
    },
    task: async (upid): Promise<TaskNow> => {
      const { end } = await client.tasks.status(checked(upid));
      return { running: end === null, exitStatus: end === null ? null : end.kind === 'ok' ? 'OK' : end.reason };
    },
    taskLog: async (upid, start) =>
      (await client.tasks.log(checked(upid), { from: start + 1, limit: 0 })).map((line) => line.text),
    stopTask: async (upid) => await client.tasks.stop(checked(upid)),
    startGuest: async (guest) => await client.guests.start({ vmid: parseVmid(guest.vmid), kind: guest.kind }),
    storage,
    backups: async (name, vmid) => {
      const items = await client.storage.backups(name, vmid === undefined ? {} : { vmid: parseVmid(vmid) });
      return items.map((item) => ({
        volid: item.volid,
        vmid: item.vmid,
        ctimeSeconds: item.createdSeconds,
        sizeBytes: item.sizeBytes,
        notes: item.notesFirstLine,
        protected: item.protected,
      }));
    },
    writeNotes: async (_storage, volid, notes) => await client.storage.setNotes(volid, notes),
    logReader: (name) => createLogReader(name),
  };
  return calls;
}

function compression(word: string): VzdumpCompression {
  return word === 'gzip' || word === 'lzo' || word === '0' ? word : 'zstd';
}

function checked(upid: string): Upid {
  if (isUpid(upid)) return upid;
  throw new PveProblem('failed', `${upid} is not a UPID`);
}

/** What a vzdump would include, and whether the storages of that make snapshots. What cannot be told is `unknown`: vzdump decides. */
async function readVolumes(
  client: PveClient,
  storage: (name: string) => Promise<StorageNow | null>,
  guest: GuestNow,
): Promise<GuestVolumes> {
  const ref = { vmid: parseVmid(guest.vmid), kind: guest.kind };
  const [config, status] = await Promise.all([client.guests.config(ref, { current: true }), client.guests.status(ref)]);
  const mounts = readMounts(config);
  const included = mounts
    .filter((mount) => mount.backup)
    .map((mount) => ({ mount: mount.target ?? mount.key, storage: mount.storage ?? '' }));
  const excluded = mounts
    .filter((mount) => !mount.backup)
    .map((mount) => ({ mount: mount.target ?? mount.key, why: mount.whyNot ?? 'excluded' }));
  const names = [...new Set(included.map((mount) => mount.storage))];
  const types = await Promise.all(names.map(async (name) => (await storage(name).catch(() => null))?.type ?? ''));
  const judged = guest.kind === 'qemu' ? true : judgeSnapshots(types);
  const snapshotsPossible = judged === 'unknown' && excluded.length === 0 ? await askFeature(client, ref) : judged;
  return { included, excluded, snapshotsPossible, haManaged: status.haManaged };
}

/** PVE's own opinion. It counts bind mounts and excluded volumes too, so it is asked only where there are none. */
async function askFeature(
  client: PveClient,
  ref: Parameters<PveClient['guests']['feature']>[0],
): Promise<boolean | 'unknown'> {
  return await client.guests.feature(ref, 'snapshot').catch(() => 'unknown' as const);
}

function judgeSnapshots(types: readonly string[]): boolean | 'unknown' {
  if (types.some((type) => noSnapshotTypes.has(type))) return false;
  return types.every((type) => snapshotTypes.has(type)) ? true : 'unknown';
}

function createLogReader(storage: string | null): LogReader {
  let log = emptyVzdumpLog;
  let count = 0;
  return {
    feed: (lines) => {
      log = readVzdumpLog(
        log,
        lines.map((text, index) => ({ n: count + index + 1, text })),
        storage ?? undefined,
      );
      count += lines.length;
    },
    guest: (vmid) => toGuestLog(guestLog(log, parseVmid(vmid)), log.lock === 'waiting'),
    get taskError() {
      if (log.lock === 'lost') return "can't acquire lock of vzdump";
      return log.end?.kind === 'error' ? log.end.text : null;
    },
  };
}

const nothing: GuestLog = {
  mode: null,
  wasRunning: null,
  freezing: false,
  pastGate: false,
  proof: null,
  excluded: [],
  progress: null,
  sizeBytes: null,
  volid: null,
  end: null,
  reason: null,
  waiting: false,
};

/** `suspending guest` and `stopping virtual guest` are printed before `pre-stop` (recorded): they are not past the gate. */
function toGuestLog(guest: ReturnType<typeof guestLog>, waiting: boolean): GuestLog {
  if (guest === null) return { ...nothing, waiting };
  const { capture, result } = guest;
  return {
    mode: guest.mode,
    wasRunning: guest.running,
    freezing: guest.proof === null && ['snapshot-requested', 'suspended', 'final-copy-done'].includes(capture),
    pastGate: ['snapshot-requested', 'final-copy-done', 'archiving', 'proven', 'ended'].includes(capture),
    proof: guest.proof?.text ?? null,
    excluded: guest.excluded.map(({ mount, target, why }) => ({ mount: target === '' ? mount : target, why })),
    progress: guest.progress.percent,
    sizeBytes: guest.sizes.archiveBytes ?? guest.sizes.dataBytes,
    volid: guest.volid,
    end: result?.kind ?? null,
    reason: result?.kind === 'failed' ? result.reason : null,
    waiting,
  };
}
