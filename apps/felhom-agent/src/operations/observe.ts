import type { Target } from './judge.ts';
import type { Payload } from './payload.ts';
import type { OperationPve } from './ports.ts';

/** Reads of PVE what the payload speaks of, and nothing else. @throws PveError */
export async function observeTarget(pve: OperationPve, payload: Payload): Promise<Target> {
  const nothing: Target = { guest: null, backup: null, snapshots: [] };
  switch (payload.operation) {
    case 'backup-delete':
      return { ...nothing, backup: await pve.backup(payload.target.volid) };
    case 'guest-destroy':
      return { ...nothing, guest: await pve.guest(payload.vmid) };
    case 'snapshot-rollback': {
      const guest = await pve.guest(payload.vmid);
      return { ...nothing, guest, snapshots: guest === null ? [] : await pve.snapshots(guest) };
    }
    case 'guest-restore': {
      const [guest, backup] = await Promise.all([pve.guest(payload.vmid), pve.backup(payload.archive.volid)]);
      return { ...nothing, guest, backup };
    }
  }
}
