import { systemClock } from '@felhom/kernel/clock.ts';
import { type FollowEnd, followTask } from '@felhom/proxmox/follow-task.ts';
import { isUpid, type Upid } from '@felhom/proxmox/upid.ts';
import { markOf, type VzdumpRequest } from '@felhom/proxmox/vzdump.ts';
import { emptyVzdumpLog, type GuestLog, guestLog, readVzdumpLog, type VzdumpLog } from '@felhom/proxmox/vzdump-log.ts';
import { z } from 'zod';
import type { ContractNode } from '../targets.ts';

/** A backup that the suite made, from the POST to its end. */
export interface MadeBackup {
  upid: Upid;
  end: FollowEnd;
  log: VzdumpLog;
  guest: GuestLog;
}

/** By node: the second in which a backup of the test guest ended last. */
const lastSecond = new Map<string, number>();
const bounded = (): AbortSignal => AbortSignal.timeout(50_000);

/**
 * Starts a backup of the test guest in a second in which none has ended: two within one second would
 * have one name, and the later would replace the earlier.
 */
export async function startBackup(
  node: ContractNode,
  jobId: string,
  request: Partial<VzdumpRequest> = {},
): Promise<Upid> {
  const signal = bounded();
  for (;;) {
    const now = (await node.pve.nodes.clockSeconds({ signal })) ?? 0;
    if (now > (lastSecond.get(node.url) ?? 0)) break;
    await systemClock.sleep(50, signal);
  }
  const { storage, guest, pve } = node;
  const common = { vmid: guest.vmid, storage, mode: 'snapshot', mark: markOf(jobId), remove: false } as const;
  const answer = await pve.vzdump.start({ ...common, ...request });
  if (answer.kind === 'started') return answer.upid;
  throw new Error(`the backup was not started: ${answer.kind}${'error' in answer ? `, ${answer.error.message}` : ''}`);
}

/** Follows a vzdump task to its end and reads its log. */
export async function followBackup(node: ContractNode, upid: Upid): Promise<MadeBackup> {
  let log = emptyVzdumpLog;
  const end = await followTask({ tasks: node.pve.tasks, clock: systemClock }, upid, {
    signal: bounded(),
    onLines: (lines) => {
      log = readVzdumpLog(log, lines, node.storage);
    },
  });
  lastSecond.set(node.url, (await node.pve.nodes.clockSeconds()) ?? 0);
  const guest = guestLog(log, node.guest.vmid);
  if (guest === null)
    throw new Error(`the task says nothing of guest ${node.guest.vmid}: ${JSON.stringify({ end, log })}`);
  return { upid, end, log, guest };
}

export async function makeBackup(
  node: ContractNode,
  jobId: string,
  request: Partial<VzdumpRequest> = {},
): Promise<MadeBackup> {
  return followBackup(node, await startBackup(node, jobId, request));
}

/** Deletes what the suite made, protected or not, and waits for it. */
export async function deleteBackups(node: ContractNode): Promise<void> {
  const { pve, storage, guest } = node;
  const ours = (await pve.storage.backups(storage, { vmid: guest.vmid })).filter(({ notesFirstLine }) =>
    notesFirstLine.startsWith('felhom/1 contract'),
  );
  for (const { volid, protected: isProtected } of ours) {
    if (isProtected) await pve.storage.setProtected(volid, false);
    const path = `/nodes/${pve.node}/storage/${storage}/content/${encodeURIComponent(volid)}`;
    const answer = await node.api({ method: 'DELETE', path });
    const { data } = z.object({ data: z.string().nullish() }).parse(JSON.parse(answer.body.toString()));
    const upid = data ?? '';
    if (isUpid(upid)) await waitUntil(`${volid} is deleted`, async () => (await pve.tasks.status(upid)).end !== null);
  }
}

/** Waits until `look` says so. Throws after 30 s. */
export async function waitUntil(what: string, look: () => Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  while (!(await look())) {
    if (signal.aborted) throw new Error(`waited 30 s in vain until ${what}`);
    await systemClock.sleep(50, signal);
  }
}
