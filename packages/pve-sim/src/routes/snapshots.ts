import { type Caller, require } from '../auth.ts';
import type { GuestRecord } from '../guests/guest-record.ts';
import { freezeGuest, thawGuest } from '../guests/power.ts';
import { removeSnapshot, rollbackTo, takeSnapshot } from '../guests/volume-snapshot.ts';
import { failure } from '../http/api-error.ts';
import { flag, stringOf, text } from '../http/parameters.ts';
import type { Call, Route } from '../router.ts';
import { volumesOf } from '../vzdump/volumes.ts';
import { type GuestKind, guestKinds, guestOf } from './guest-status.ts';

const may =
  (privilege: string) =>
  ({ caller, vmid }: { caller: Caller; vmid: number }): void =>
    require(caller, `/vms/${vmid}`, privilege);

/** Snapshots by hand, and whether a guest can have them. */
export const snapshotRoutes: readonly Route[] = guestKinds.flatMap((kind): Route[] => {
  const base = `/nodes/{node}/${kind}/{vmid}`;
  return [
    {
      method: 'GET',
      path: `${base}/feature`,
      protected: true,
      params: { feature: { type: 'string', required: true, oneOf: ['clone', 'copy', 'snapshot'] }, snapname: text },
      allow: may('VM.Audit'),
      handle: (call) => ({ hasFeature: canSnapshot(guestOf(call, kind)) ? 1 : 0 }),
    },
    {
      method: 'GET',
      path: `${base}/snapshot`,
      protected: false,
      params: {},
      allow: may('VM.Audit'),
      handle: (call) => listSnapshots(guestOf(call, kind)),
    },
    {
      method: 'POST',
      path: `${base}/snapshot`,
      protected: true,
      params: { snapname: { type: 'string', required: true }, description: text, vmstate: flag },
      allow: may('VM.Snapshot'),
      handle: (call) => create(call, kind),
    },
    {
      method: 'DELETE',
      path: `${base}/snapshot/{snapname}`,
      protected: true,
      params: { force: flag },
      allow: may('VM.Snapshot'),
      handle: (call) => remove(call, kind),
    },
    {
      method: 'POST',
      path: `${base}/snapshot/{snapname}/rollback`,
      protected: true,
      params: { start: flag },
      allow: may('VM.Snapshot'),
      handle: (call) => rollback(call, kind),
    },
  ];
});

/** One bind mount, device or volume without snapshots, in a backup or not, and the answer is no (recorded). */
function canSnapshot(guest: GuestRecord): boolean {
  return volumesOf(guest).every((volume) => volume.snapshots);
}

function listSnapshots(guest: GuestRecord): unknown {
  const items: Record<string, unknown>[] = Object.entries(guest.snapshots).map(([name, snapshot]) => ({
    name,
    snaptime: snapshot.snaptime,
    description: snapshot.description ?? '',
    ...(snapshot.parent === undefined ? {} : { parent: snapshot.parent }),
  }));
  const parent = guest.parent === undefined ? {} : { parent: guest.parent };
  return [
    ...items,
    { name: 'current', description: 'You are here!', digest: '', running: guest.running ? 1 : 0, ...parent },
  ];
}

function create(call: Call, kind: GuestKind): string {
  const { node, caller, vmid, params } = call;
  guestOf(call, kind);
  const name = stringOf(params, 'snapname') ?? '';
  if (name === 'vzdump' || name === 'current') throw failure(`unable to use snapshot name '${name}' (reserved name)`);
  const description = stringOf(params, 'description');
  return node.runner.start(
    { type: kind === 'lxc' ? 'vzsnapshot' : 'qmsnapshot', id: String(vmid), caller },
    async () => {
      const guest = node.guests.get(vmid);
      if (guest === null) throw new Error('the guest is gone');
      checkUnlocked(guest);
      if (!canSnapshot(guest)) throw new Error('snapshot feature is not available');
      if (guest.snapshots[name] !== undefined) throw new Error(`snapshot name '${name}' already used`);
      await freezeGuest(guest);
      let path: string;
      try {
        path = await takeSnapshot(guest.dir, name);
      } finally {
        await thawGuest(guest);
      }
      node.guests.update(vmid, (now) => {
        const parent = now.parent === undefined ? {} : { parent: now.parent };
        const noted = description === undefined ? {} : { description: `${description.replace(/\n+$/, '')}\n` };
        now.snapshots[name] = {
          config: { ...now.config },
          snaptime: Math.floor(Date.now() / 1000),
          path,
          ...noted,
          ...parent,
        };
        now.parent = name;
      });
    },
  );
}

function remove(call: Call, kind: GuestKind): string {
  const { node, caller, vmid, path } = call;
  guestOf(call, kind);
  const name = path['snapname'] ?? '';
  return node.runner.start(
    { type: kind === 'lxc' ? 'vzdelsnapshot' : 'qmdelsnapshot', id: String(vmid), caller },
    async () => {
      const guest = node.guests.get(vmid);
      const snapshot = guest?.snapshots[name];
      if (guest === null || snapshot === undefined) throw new Error(`snapshot '${name}' does not exist`);
      checkUnlocked(guest);
      await removeSnapshot(snapshot.path);
      node.guests.update(vmid, (now) => {
        delete now.snapshots[name];
        if (now.parent !== name) return;
        delete now.parent;
        if (snapshot.parent !== undefined) now.parent = snapshot.parent;
      });
    },
  );
}

function rollback(call: Call, kind: GuestKind): string {
  const { node, caller, vmid, path } = call;
  guestOf(call, kind);
  const name = path['snapname'] ?? '';
  return node.runner.start(
    { type: kind === 'lxc' ? 'vzrollback' : 'qmrollback', id: String(vmid), caller },
    async () => {
      const guest = node.guests.get(vmid);
      const snapshot = guest?.snapshots[name];
      if (guest === null || snapshot === undefined) throw new Error(`snapshot '${name}' does not exist`);
      checkUnlocked(guest);
      await rollbackTo(snapshot.path, guest.dir);
      node.guests.update(vmid, (now) => {
        now.config = { ...snapshot.config };
        now.parent = name;
        now.running = false;
      });
    },
  );
}

function checkUnlocked(guest: GuestRecord): void {
  if (guest.lock !== undefined) throw new Error(`${guest.kind === 'lxc' ? 'CT' : 'VM'} is locked (${guest.lock})`);
}
