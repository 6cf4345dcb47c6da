import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toLine } from '@felhom/durable/journal-format.ts';
import { openSharedJournal } from '@felhom/durable/shared-journal.ts';
import { actionRecord } from 'felhom-agent/reconcile/action-record.ts';
import { actionsPath } from 'felhom-agent/state-files.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../agent/rig.ts';
import { type Answer, type Desk, openDesk, textOf } from './desk.ts';

let desk: Desk;
afterEach(() => desk.close());

const refusedAs = (reason: string, exit = 13) => ({ code: exit, json: { error: { reason } } });
const done = { code: 0, json: { outcome: 'done', error: null } };
const taskTypes = async (): Promise<string[]> => (await desk.pve.tasks.list()).map(({ type }) => type).toSorted();

describe('deleting a backup', () => {
  it('takes a key, a signature, and goes once', async () => {
    desk = await openDesk();
    const [first, second] = [await desk.backup(), await nextBackup()];
    const file = await desk.sign('backup-delete', '--volid', first);
    const looked = await desk.run('operation', 'verify', file, '--json');
    expect(looked).toMatchObject({
      code: 0,
      json: { acceptable: true, looked_at: ['agent', 'clock', 'record', 'target'] },
    });
    expect((await desk.pve.storage.backups('bk')).map(({ volid }) => volid)).toContain(first);
    expect(await desk.apply(file)).toMatchObject(done);
    expect((await desk.pve.storage.backups('bk')).map(({ volid }) => volid)).toEqual([second]);
    expect(await desk.apply(file)).toMatchObject(refusedAs('replayed'));
    expect(await desk.run('operation', 'verify', file)).toMatchObject({ code: 13 });
    const listed = await desk.run('operation', 'list', '--json');
    expect(listed.json).toMatchObject({
      agent: expect.stringMatching(/^[0-9a-f]{32}$/),
      signers: [{ name: 'anna', revoked: false }],
      operations: [
        {
          operation: 'backup-delete',
          outcome: 'done',
          steps: [{ act: 'delete-backup', upid: expect.stringContaining('imgdel') }],
        },
      ],
    });
    expect((await desk.run('status', '--json')).json).toMatchObject({ agent_id: listed.json['agent'] });
    const [entry] = listed.json['operations'] as { id: string }[];
    expect((await desk.run('journal', 'show', entry?.id ?? '', '--json')).json).toMatchObject({
      by: 'operation',
      upid: expect.stringContaining('imgdel'),
      outcome: 'done',
      operation: { steps: [{ act: 'delete-backup' }] },
    });
    await keepsTheKeySecret();
  });

  it('is refused where nobody may sign, by whom nobody knows, and once the key is revoked', async () => {
    desk = await openDesk();
    const file = await desk.sign('backup-delete', '--volid', await desk.backup());
    const signers = join(desk.folder, 'signers/anna.pub');
    const line = await readFile(signers, 'utf8');
    await writeFile(signers, '');
    expect(await desk.apply(file)).toMatchObject(refusedAs('no_signers'));
    const other = await desk.run('operation', 'keygen', '--out', join(desk.folder, 'ben.key'), '--json');
    await writeFile(signers, `${String(other.json['public_key'])}\n`);
    expect(await desk.apply(file)).toMatchObject(refusedAs('unknown_key'));
    await writeFile(signers, line.replace('ed25519:', 'revoked ed25519:'));
    expect(await desk.apply(file)).toMatchObject(refusedAs('revoked_key'));
    await chmod(signers, 0o666);
    expect(await desk.apply(file)).toMatchObject({ code: 2, json: { error: { code: 'config_invalid' } } });
    expect(await desk.pve.storage.backups('bk')).toHaveLength(1);
  });

  it('whose answer is lost is found by its task', async () => {
    desk = await openDesk();
    const file = await desk.sign('backup-delete', '--volid', await desk.backup());
    await desk.fault({ fault: 'drop_answer', method: 'DELETE', path: '/content/' });
    expect(await desk.apply(file)).toMatchObject(done);
    expect(await desk.pve.storage.backups('bk')).toEqual([]);
    expect((await taskTypes()).filter((type) => type === 'imgdel')).toHaveLength(1);
  });

  it('is left for later where PVE cannot be asked, and the same file is applied then', async () => {
    desk = await openDesk();
    const file = await desk.sign('backup-delete', '--volid', await desk.backup());
    await desk.fault({ fault: 'daemon_down', path: '/content' });
    const told = await desk.apply(file);
    expect(told).toMatchObject({
      code: 10,
      json: { error: { message: expect.stringMatching(/nothing was done, and the same file/) } },
    });
    expect(await desk.apply(file)).toMatchObject(done);
  });

  it('that PVE refuses to do fails with its words', async () => {
    desk = await openDesk();
    const file = await desk.sign('backup-delete', '--volid', await desk.backup());
    await desk.fault({ fault: 'refuse', method: 'DELETE', path: '/content/', text: 'not today' });
    const answer = await desk.apply(file);
    expect(answer).toMatchObject({ code: 3, json: { outcome: 'failed', error: { reason: 'failed' } } });
    expect(answer.json['reason']).toContain('not today');
    expect(await desk.apply(file)).toMatchObject(refusedAs('replayed'));
  });

  it('whose process is killed before PVE answers ends interrupted, and only a new signature acts', async () => {
    desk = await openDesk();
    const volid = await desk.backup();
    const file = await desk.sign('backup-delete', '--volid', volid);
    await desk.fault({ fault: 'hang', method: 'DELETE', path: '/content/' });
    const killed = await desk.background('operation', 'apply', file);
    // Then the intent is on record, and the request is on its way for ever.
    await until('PVE was asked', () => desk.node.sim.faults.list().length === 0);
    expect(await textOf(join(desk.folder, 'state/operations.json'))).toContain('"act":"delete-backup"');
    process.kill(killed.pid, 'SIGKILL');
    await killed.ended;
    expect((await desk.run('journal', 'list', '--open', '--json')).json).toMatchObject({
      entries: [{ vmid: 101, by: 'operation', action: expect.stringContaining(volid), outcome: 'open' }],
      problems: [],
    });
    expect(await desk.apply(file)).toMatchObject(refusedAs('replayed'));
    const recovered = await desk.run('recover', '--json');
    expect(recovered).toMatchObject({ code: 0, json: { operations: [{ outcome: 'interrupted' }] } });
    expect(await desk.apply(file)).toMatchObject(refusedAs('replayed'));
    expect(await desk.pve.storage.backups('bk')).toHaveLength(1);
    expect(await desk.apply(await desk.sign('backup-delete', '--volid', volid))).toMatchObject(done);
    expect(await desk.pve.storage.backups('bk')).toEqual([]);
    await writeFile(join(desk.folder, 'state/operations.json'), 'torn');
    const listed = await desk.run('journal', 'list');
    expect([listed.code, listed.stdout]).toEqual([
      0,
      expect.stringMatching(/ATTENTION .*signed operations are not shown/),
    ]);
  });
});

describe('destroying a guest', () => {
  it.each(['lxc', 'qemu'] as const)('of kind %s waits until it is stopped and unprotected', async (kind) => {
    desk = await openDesk({ guestSpec: { kind } });
    const file = await desk.sign('guest-destroy', '--purge');
    expect(await desk.apply(file)).toMatchObject(refusedAs('guest_running'));
    await desk.stopGuest();
    expect(await desk.apply(file)).toMatchObject(done);
    expect(await desk.pve.guests.list()).toEqual([]);
    expect(await textOf(join(desk.files, 'data'))).toBeNull();
  });

  it('is refused for a guest that is protected, or was changed since', async () => {
    desk = await openDesk();
    await desk.stopGuest();
    const before = await desk.sign('guest-destroy');
    const { digest } = await desk.pve.guests.config(desk.guest);
    await desk.pve.guests.setConfig(desk.guest, { digest, set: { protection: 1 } });
    expect(await desk.apply(before)).toMatchObject(refusedAs('guest_changed'));
    expect(await desk.apply(await desk.sign('guest-destroy'))).toMatchObject(refusedAs('guest_protected'));
    expect(await desk.pve.guests.list()).toHaveLength(1);
  });
});

describe('a guest of which reconcile does not know what became of its call', () => {
  it('is neither destroyed nor changed before that is resolved', async () => {
    desk = await openDesk();
    await desk.stopGuest();
    const file = await desk.sign('guest-destroy');
    const at = new Date().toISOString();
    const journal = await openSharedJournal({
      path: actionsPath(join(desk.folder, 'state')),
      schema: actionRecord,
      keep: (records) => records,
      onFatal: () => undefined,
    });
    const who = {
      by: 'reconcile',
      pid: 1,
      boot_id: 'an earlier one',
      boot_ms: 0,
      node: 'pve1',
      node_seconds: null,
    } as const;
    const what = { vmid: 101, guest_kind: 'lxc', action: { kind: 'start' } } as const;
    await journal.append({ kind: 'intent', id: 'left-open', key: 'left-open', at, ...who, ...what, known: [] });
    await journal.close();
    const refused = await desk.apply(file);
    expect(refused).toMatchObject(refusedAs('lane_busy', 11));
    expect(refused.stdout).toContain('left-open');
    expect(await desk.run('recover', '--json')).toMatchObject({ code: 0, json: { recovered: [{ outcome: 'void' }] } });
    expect(await desk.apply(file)).toMatchObject(done);
  });

  it('nor is any, while a part of what reconcile did cannot be read, before recover has put that aside', async () => {
    desk = await openDesk();
    await desk.stopGuest();
    const file = await desk.sign('guest-destroy');
    const path = actionsPath(join(desk.folder, 'state'));
    const ended = toLine({ kind: 'ended', id: 'a', at: new Date().toISOString(), outcome: 'done', reason: null });
    await writeFile(path, Buffer.concat([ended, Buffer.from('17 00000000 {"kind":"intent"}\n'), ended]), {
      mode: 0o600,
    });
    const refused = await desk.apply(file);
    expect(refused).toMatchObject(refusedAs('lane_busy', 11));
    expect(refused.stdout).toContain('cannot be read as a whole');
    const recovered = await desk.run('recover');
    expect(recovered).toMatchObject({ code: 0, stderr: expect.stringContaining('actions.jsonl.damaged') });
    expect(await readFile(`${path}.damaged`, 'utf8')).toContain('intent');
    expect(await desk.apply(file)).toMatchObject(done);
  });
});

describe('rolling back', () => {
  it('brings the files of the snapshot back, and starts the guest where that was signed', async () => {
    desk = await openDesk();
    await desk.snapshot('before');
    await writeFile(join(desk.files, 'data'), 'written since\n');
    const file = await desk.sign('snapshot-rollback', '--snapshot', 'before', '--start');
    expect(await desk.apply(file)).toMatchObject(done);
    expect(await textOf(join(desk.files, 'data'))).toBe('of 101\n');
    await until('the guest runs', async () => (await desk.pve.guests.status(desk.guest)).running);
  });

  it('is refused for a snapshot of the same name taken at another time', async () => {
    desk = await openDesk();
    await desk.snapshot('before');
    const [only] = await desk.pve.guests.snapshots(desk.guest);
    const time = String((only?.takenSeconds ?? 0) - 60);
    const file = await desk.sign('snapshot-rollback', '--snapshot', 'before', '--snapshot-time', time);
    expect(await desk.apply(file)).toMatchObject(refusedAs('snapshot_changed'));
    expect(await taskTypes()).not.toContain('vzrollback');
  });
});

describe('restoring over a guest', () => {
  const prepared = async (options: Parameters<typeof openDesk>[0] = {}): Promise<string> => {
    desk = await openDesk(options);
    const volid = await desk.backup();
    await writeFile(join(desk.files, 'data'), 'written since\n');
    await desk.stopGuest();
    return volid;
  };

  it.each(['lxc', 'qemu'] as const)('of kind %s keeps a protected backup of what was there', async (kind) => {
    const volid = await prepared({ guestSpec: { kind } });
    const before = await desk.pve.guests.config(desk.guest);
    await nextSecond();
    const answer = await desk.apply(await desk.sign('guest-restore', '--volid', volid));
    expect(answer).toMatchObject({ ...done, json: { steps: [{ act: 'safety-backup' }, { act: 'restore' }] } });
    expect(await textOf(join(desk.files, 'data'))).toBe('of 101\n');
    const kept = (await desk.pve.storage.backups('bk')).filter((item) => item.volid !== volid);
    expect(kept).toMatchObject([{ protected: true, volid: safetyVolid(answer) }]);
    if (kind === 'lxc') {
      const after = await desk.pve.guests.config(desk.guest);
      expect(after.options['rootfs']?.split(':')[0]).toBe(before.options['rootfs']?.split(':')[0]);
    }
  });

  it('goes the same way while serve runs and vzdump calls our hook', async () => {
    const volid = await prepared({ gate: 'hook' });
    const serving = await desk.background('serve');
    await until('serve answers', async () => (await desk.run('guest', 'list')).code === 0);
    await nextSecond();
    const answer = await desk.apply(await desk.sign('guest-restore', '--volid', volid, '--start'));
    expect(answer).toMatchObject({ ...done, json: { notes: [] } });
    expect(await textOf(join(desk.files, 'data'))).toBe('of 101\n');
    await until('the guest runs', async () => (await desk.pve.guests.status(desk.guest)).running);
    const kept = (await desk.pve.storage.backups('bk')).find((item) => item.volid !== volid);
    expect(kept).toMatchObject({ protected: true });
    await serving.stop(5_000);
    const log = await textOf(join(desk.folder, 'background.log'));
    expect(log).toContain('serving');
    expect(log).not.toContain('ALERT');
  });

  it('is refused for an archive that cannot be read to its end', async () => {
    const volid = await prepared();
    const file = await desk.sign('guest-restore', '--volid', volid);
    const { path } = await desk.pve.storage.backup(volid);
    const bytes = await readFile(path ?? '');
    const middle = Math.floor(bytes.length / 2);
    bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
    await writeFile(path ?? '', bytes);
    expect(await desk.apply(file)).toMatchObject(refusedAs('archive_unreadable'));
    expect(await textOf(join(desk.files, 'data'))).toBe('written since\n');
    expect(await taskTypes()).not.toContain('vzrestore');
    expect((await taskTypes()).filter((type) => type === 'vzdump')).toHaveLength(1);
  });

  it('leaves the guest alone when its backup fails', async () => {
    const volid = await prepared();
    await desk.fault({ fault: 'fail_archive' });
    const answer = await desk.apply(await desk.sign('guest-restore', '--volid', volid));
    expect(answer).toMatchObject({ code: 3, json: { outcome: 'failed', steps: [{ act: 'safety-backup' }] } });
    expect(await textOf(join(desk.files, 'data'))).toBe('written since\n');
  });
});

const safetyVolid = (answer: Answer): unknown => {
  const [safety] = answer.json['steps'] as { volid: string }[];
  return safety?.volid;
};

/** Two backups of a guest within one second have one name. */
async function nextSecond(): Promise<void> {
  const now = Math.floor(Date.now() / 1000);
  await until('the next second', () => Math.floor(Date.now() / 1000) > now);
}

async function nextBackup(): Promise<string> {
  await nextSecond();
  return await desk.backup();
}

async function keepsTheKeySecret(): Promise<void> {
  expect((await stat(desk.key)).mode & 0o777).toBe(0o600);
  const secret = (await readFile(desk.key, 'utf8')).split('\n')[1] ?? '';
  expect(secret.length).toBeGreaterThan(40);
  expect(desk.printed()).not.toContain(secret);
}
