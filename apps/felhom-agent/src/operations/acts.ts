import { markOf } from '@felhom/proxmox/vzdump.ts';
import type { Act } from './ports.ts';
import type { Operation } from './record.ts';

/** What an operation asks of PVE, in order; the last is the one that cannot be taken back. Pure. */
export function actsOf({ id, payload, restore_storage: storage }: Operation): readonly Act[] {
  const { vmid } = payload;
  switch (payload.operation) {
    case 'backup-delete':
      return [{ kind: 'delete-backup', vmid, volid: payload.target.volid }];
    case 'guest-destroy': {
      const { purge, unreferenced_disks: unreferencedDisks, target } = payload;
      return [{ kind: 'destroy-guest', vmid, guestKind: target.kind, purge, unreferencedDisks }];
    }
    case 'snapshot-rollback': {
      const { kind: guestKind, snapshot } = payload.target;
      return [{ kind: 'rollback', vmid, guestKind, snapshot }];
    }
    case 'guest-restore': {
      const { kind: guestKind } = payload.target;
      const restore: Act = { kind: 'restore', vmid, guestKind, volid: payload.archive.volid, storage };
      if (payload.safety_backup === 'waived') return [restore];
      return [
        { kind: 'safety-backup', vmid, guestKind, storage: payload.safety_backup.storage, mark: markOf(id) },
        restore,
      ];
    }
  }
}
