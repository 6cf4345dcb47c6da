import { PveError } from '@felhom/proxmox/errors.ts';
import { readTaskEnd, type TaskListItem } from '@felhom/proxmox/tasks.ts';
import { formatUpid } from '@felhom/proxmox/upid.ts';
import { expect, it } from 'vitest';
import { findAct } from './find-act.ts';
import type { Act, LostAct } from './ports.ts';

const ours = 'felhom@pve!agent';
const since = 1_795_000_000;
const destroy: Act = { kind: 'destroy-guest', vmid: 101, guestKind: 'lxc', purge: false, unreferencedDisks: false };
const volid = 'bk:backup/vzdump-lxc-101-2026_11_20-01_00_00.tar.zst';
const deletion: Act = { kind: 'delete-backup', vmid: 101, volid };

interface Listed {
  type?: string;
  id?: string;
  user?: string;
  startSeconds?: number;
  exit?: string | null;
  lines?: readonly string[];
}

function listed(
  { type = 'vzdestroy', id = '101', user = ours, startSeconds = since, exit = 'OK' }: Listed,
  at: number,
): TaskListItem {
  const end = exit === null ? null : readTaskEnd(exit);
  const upid = formatUpid({ node: 'pve1', pid: 100 + at, pstart: 1, startSeconds, type, id, user });
  return { upid, type, vmid: null, user, startSeconds, end, endSeconds: null };
}

async function find(act: Act, tasks: readonly Listed[], more: Partial<LostAct> = {}) {
  const items = tasks.map(listed);
  const port = {
    list: async ({ type, sinceSeconds = 0 }: { type?: string | undefined; sinceSeconds?: number | undefined } = {}) =>
      items.filter((item) => item.type === type && item.startSeconds >= sinceSeconds),
    log: async (upid: string) =>
      (tasks[items.findIndex((item) => item.upid === upid)]?.lines ?? []).map((text, at) => ({ n: at + 1, text })),
  };
  const question = { act, sinceSeconds: since, intentAgeMs: 40_000, certainAfterMs: 35_000, known: [], ...more };
  const found = await findAct(port, question, ours);
  return found.kind === 'found' ? items.findIndex(({ upid }) => upid === found.upid) : found.kind;
}

it('finds the task of that type and guest that our token began since', async () => {
  expect(await find(destroy, [{ id: '102' }, { type: 'vzstart' }, {}])).toBe(2);
  expect(await find({ ...destroy, guestKind: 'qemu' }, [{}, { type: 'qmdestroy' }])).toBe(1);
  expect(await find({ kind: 'rollback', vmid: 101, guestKind: 'lxc', snapshot: 's' }, [{ type: 'vzrollback' }])).toBe(
    0,
  );
  const restore: Act = { kind: 'restore', vmid: 101, guestKind: 'qemu', volid, storage: null };
  expect(await find(restore, [{ type: 'qmrestore', exit: null }])).toBe(0);
});

it("takes neither another's task for ours, nor an older one, nor one that another operation owns", async () => {
  expect(await find(destroy, [{ user: 'root@pam' }])).toBe('not-started');
  expect(await find(destroy, [{ startSeconds: since - 3 }])).toBe('not-started');
  expect(await find(destroy, [{}], { known: [listed({}, 0).upid] })).toBe('not-started');
});

it('knows the deletion of a backup by its name in the log, also where it failed', async () => {
  const task = { type: 'imgdel', id: '101@bk' };
  const named = `Removed volume '${volid}'`;
  expect(
    await find(deletion, [
      { ...task, lines: ["Removed volume 'bk:backup/other'"] },
      { ...task, lines: [named] },
    ]),
  ).toBe(1);
  const failed =
    "TASK ERROR: cannot remove protected volume 'backup/vzdump-lxc-101-2026_11_20-01_00_00.tar.zst' on 'bk'";
  expect(await find(deletion, [{ ...task, exit: 'cannot remove', lines: [failed] }])).toBe(0);
  expect(await find(deletion, [{ ...task, exit: null }])).toBe('undecided');
  expect(await find(deletion, [{ ...task, id: '101@usb', lines: [named] }])).toBe('not-started');
});

it('says that nothing was started only by a look that began late enough', async () => {
  expect(await find(destroy, [], { intentAgeMs: 34_999 })).toBe('undecided');
  expect(await find(destroy, [], { intentAgeMs: 35_000 })).toBe('not-started');
});

it('knows nothing while PVE does not answer', async () => {
  const away = new PveError({ fault: { kind: 'transport', outcome: 'unknown' }, call: 'GET tasks', text: 'no answer' });
  const port = { list: () => Promise.reject(away), log: () => Promise.reject(away) };
  const question = { act: destroy, sinceSeconds: since, intentAgeMs: 99_000, certainAfterMs: 35_000, known: [] };
  expect(await findAct(port, question, ours)).toMatchObject({ kind: 'undecided' });
});
