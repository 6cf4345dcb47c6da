import { afterEach, describe, expect, it } from 'vitest';
import { createPveClient, type PveClient } from './client.ts';
import { startTestServer, type TestServer } from './fixtures/tls-server.ts';
import { parseVmid, type Upid } from './upid.ts';
import { markOf } from './vzdump.ts';

const upid = 'UPID:alpha:0000A1B2:00C0FFEE:6A0B0C0D:vzdump:104:felhom@pve!agent:' as Upid;
const ct = { vmid: parseVmid(104), kind: 'lxc' } as const;
const open: { client: PveClient; server: TestServer }[] = [];

afterEach(async () => {
  for (const { client, server } of open.splice(0)) {
    await client.close();
    await server.stop();
  }
});

/** A client whose node gives these data, by the end of the path. */
async function withAnswers(
  answers: Readonly<Record<string, unknown>>,
): Promise<{ pve: PveClient; asked: readonly string[]; bodies: readonly string[] }> {
  const bodies: string[] = [];
  const server = await startTestServer((exchange) => {
    bodies.push(exchange.body);
    const path = exchange.path.split('?')[0] ?? '';
    const key = Object.keys(answers).find((end) => path.endsWith(end));
    if (key === undefined) exchange.answer(501, `Method '${exchange.method} ${path}' not implemented`, '{"data":null}');
    else exchange.json(answers[key]);
  });
  const tls = { kind: 'fingerprint', fingerprint: server.fingerprint } as const;
  const client = createPveClient({ url: server.url, node: 'alpha', token: 'felhom@pve!agent=0123456789', tls });
  open.push({ client, server });
  return { pve: client, asked: server.requests, bodies };
}

describe('guests', () => {
  it('are listed with both kinds, in order, whatever is null or text', async () => {
    const { pve } = await withAnswers({
      '/lxc': [
        { vmid: 107, status: 'stopped', name: 'web', lock: 'backup', tags: 'a;b', template: '', pressurecpusome: null },
        { vmid: '104', status: 'running', name: 'cloud', pid: 4711, mem: '1024', uptime: 60 },
      ],
      '/qemu': [{ vmid: 105, status: 'running', template: 1 }],
    });
    expect(await pve.guests.list()).toMatchObject([
      { vmid: 104, kind: 'lxc', running: true, pid: 4711, memoryBytes: 1024, lock: null, tags: [] },
      { vmid: 105, kind: 'qemu', running: true, template: true, name: 'VM105' },
      { vmid: 107, kind: 'lxc', running: false, lock: 'backup', tags: ['a', 'b'], uptimeSeconds: 0 },
    ]);
  });

  it('have a status that tells of high availability, and a configuration with digest and lock', async () => {
    const { pve, asked } = await withAnswers({
      '/status/current': { vmid: 104, status: 'stopped', ha: { managed: 1 } },
      '/config': { digest: 'abc', lock: 'backup', cores: 2, description: 'x\n', rootfs: 'tank:x,size=8G' },
      '/feature': { hasFeature: 1 },
    });
    expect(await pve.guests.status(ct)).toMatchObject({ running: false, haManaged: true, name: 'CT104' });
    expect(await pve.guests.config(ct, { current: true })).toMatchObject({
      digest: 'abc',
      lock: 'backup',
      options: { cores: '2', description: 'x\n' },
    });
    expect(await pve.guests.feature(ct, 'snapshot')).toBe(true);
    expect(asked.slice(1)).toEqual([
      'GET /api2/json/nodes/alpha/lxc/104/config?current=1',
      'GET /api2/json/nodes/alpha/lxc/104/feature?feature=snapshot',
    ]);
  });

  it('are started and shut down by tasks', async () => {
    const { pve, asked, bodies } = await withAnswers({ '/start': upid, '/shutdown': upid, '/stop': upid });
    expect(await pve.guests.start(ct)).toBe(upid);
    expect(await pve.guests.shutdown(ct, { timeoutSeconds: 30, forceStop: true })).toBe(upid);
    expect(await pve.guests.stop(ct)).toBe(upid);
    expect(asked[1]).toBe('POST /api2/json/nodes/alpha/lxc/104/status/shutdown');
    expect(bodies).toEqual(['', 'timeout=30&forceStop=1', '']);
  });
});

describe('tasks', () => {
  it('run until they say how they ended', async () => {
    const common = { upid, type: 'vzdump', id: '104', user: 'felhom@pve', tokenid: 'agent', starttime: 1_779_000_000 };
    const { pve } = await withAnswers({ '/status': { ...common, status: 'running' } });
    expect(await pve.tasks.status(upid)).toEqual({
      upid,
      type: 'vzdump',
      vmid: 104,
      user: 'felhom@pve!agent',
      startSeconds: 1_779_000_000,
      end: null,
    });
    const ended = await withAnswers({
      '/status': { ...common, status: 'stopped', exitstatus: 'CT is locked (backup)' },
    });
    expect((await ended.pve.tasks.status(upid)).end).toEqual({
      kind: 'failed',
      reason: 'CT is locked (backup)',
      died: false,
      fault: { kind: 'locked', lock: 'backup' },
    });
  });

  it('are asked on their own node, for the log from the next unread line only', async () => {
    const { pve, asked } = await withAnswers({ '/log': [{ n: 8, t: 'eight' }, { n: 9 }] });
    const other = upid.replace(':alpha:', ':beta:') as Upid;
    expect(await pve.tasks.log(other, { from: 8, limit: 100 })).toEqual([
      { n: 8, text: 'eight' },
      { n: 9, text: '' },
    ]);
    expect(asked).toEqual([`GET /api2/json/nodes/beta/tasks/${encodeURIComponent(other)}/log?start=7&limit=100`]);
  });

  it('are listed newest first, running ones without an end', async () => {
    const { pve, asked } = await withAnswers({
      '/tasks': [
        { upid, type: 'vzdump', id: '', user: 'root@pam', starttime: 5, endtime: 9, status: 'WARNINGS: 1' },
        { upid, type: 'vzdump', id: '104', user: 'root@pam!x', starttime: '7', saved: '0' },
      ],
    });
    expect(await pve.tasks.list({ vmid: ct.vmid, type: 'vzdump', sinceSeconds: 3.7 })).toMatchObject([
      { startSeconds: 7, end: null, endSeconds: null, vmid: 104, user: 'root@pam!x' },
      { startSeconds: 5, end: { kind: 'ok', warnings: 1 }, endSeconds: 9, vmid: null },
    ]);
    expect(asked).toEqual(['GET /api2/json/nodes/alpha/tasks?vmid=104&typefilter=vzdump&since=3&source=all&limit=500']);
  });
});

describe('a backup', () => {
  const request = { vmid: ct.vmid, storage: 'vault', mode: 'snapshot', mark: markOf('j1') } as const;

  it('is asked for with its mark', async () => {
    const { pve, bodies } = await withAnswers({ '/vzdump': upid });
    expect(await pve.vzdump.start({ ...request, lockwaitMinutes: 0, remove: false })).toEqual({
      kind: 'started',
      upid,
    });
    expect(bodies).toEqual([
      'vmid=104&storage=vault&mode=snapshot&compress=zstd&notes-template=felhom%2F1+j1+pending&lockwait=0&remove=0',
    ]);
  });

  it('can be elsewhere, refused or lost', async () => {
    expect((await (await withAnswers({ '/vzdump': 'OK' })).pve.vzdump.start(request)).kind).toBe('elsewhere');
    expect((await (await withAnswers({})).pve.vzdump.start(request)).kind).toBe('refused');
    expect((await (await withAnswers({ '/vzdump': 'done' })).pve.vzdump.start(request)).kind).toBe('lost');
    expect((await (await withAnswers({ '/vzdump': null })).pve.vzdump.start(request)).kind).toBe('lost');
    const { pve } = await withAnswers({});
    await open.at(-1)?.server.stop();
    expect(await pve.vzdump.start(request)).toMatchObject({
      kind: 'refused',
      error: { fault: { kind: 'transport', outcome: 'not-sent' } },
    });
  });
});

describe('storages', () => {
  it('hold backups in one shape, on files and on PBS', async () => {
    const { pve, asked } = await withAnswers({
      '/storage/vault/content': [
        {
          volid: 'vault:backup/vzdump-lxc-104-a.tar.zst',
          vmid: 104,
          ctime: 10,
          size: 5,
          format: 'tar.zst',
          subtype: 'lxc',
          notes: 'felhom/1 j1 pending',
          protected: 1,
        },
        { volid: 'vault:backup/odd.tar', ctime: 11, size: 5, format: 'tar' },
        {
          volid: 'vault:backup/vzdump-qemu-105-b.vma.zst',
          vmid: '105',
          ctime: 12,
          size: 6,
          format: 'vma.zst',
          subtype: 'qemu',
        },
      ],
      '/storage/vault/status': {
        type: 'nfs',
        active: 1,
        enabled: 1,
        total: 100,
        used: 40,
        avail: 60,
        content: 'backup,iso',
      },
      '/storage/safe/content': [
        {
          volid: 'safe:backup/ct/104/2026-03-02T03:05:06Z',
          vmid: 104,
          ctime: 20,
          size: 1,
          format: 'pbs-ct',
          verification: { state: 'ok', upid: 'x' },
          encrypted: '1',
        },
        {
          volid: 'safe:backup/vm/105/2026-03-02T03:05:06Z',
          vmid: 105,
          ctime: 21,
          size: 77,
          format: 'pbs-vm',
          verification: { state: 'failed' },
        },
      ],
      '/storage/safe/status': { type: 'pbs', active: 1 },
    });
    expect(await pve.storage.backups('vault')).toMatchObject([
      {
        vmid: 105,
        kind: 'qemu',
        storageType: 'nfs',
        sizeBytes: 6,
        notesFirstLine: '',
        protected: false,
        verification: null,
      },
      {
        vmid: 104,
        kind: 'lxc',
        storageType: 'nfs',
        sizeBytes: 5,
        notesFirstLine: 'felhom/1 j1 pending',
        protected: true,
        encrypted: false,
      },
    ]);
    expect(await pve.storage.backups('safe', { vmid: ct.vmid })).toMatchObject([
      { vmid: 105, kind: 'qemu', storageType: 'pbs', sizeBytes: 77, verification: 'failed' },
      { vmid: 104, kind: 'lxc', storageType: 'pbs', sizeBytes: null, verification: 'ok', encrypted: true },
    ]);
    await pve.storage.backups('vault');
    expect(asked.filter((request) => request.endsWith('/status'))).toHaveLength(2);
    expect(await pve.storage.status('vault')).toMatchObject({
      type: 'nfs',
      content: ['backup', 'iso'],
      availableBytes: 60,
    });
  });

  it('keep whole notes with the single backup', async () => {
    const { pve } = await withAnswers({ '.tar.zst': { notes: 'one\ntwo', protected: 0, size: 512, path: '/x' } });
    expect(await pve.storage.backup('vault:backup/vzdump-lxc-104-a.tar.zst')).toEqual({
      volid: 'vault:backup/vzdump-lxc-104-a.tar.zst',
      notes: 'one\ntwo',
      protected: false,
      sizeBytes: 512,
      path: '/x',
    });
    await expect(pve.storage.backup('no volid')).rejects.toMatchObject({ fault: { kind: 'not-found' } });
  });
});

describe('the node', () => {
  it('tells its clock and where guests of the cluster are', async () => {
    const { pve } = await withAnswers({
      '/version': { version: '9.2.11', release: '9.2' },
      '/cluster/resources': [
        { type: 'lxc', vmid: 104, node: 'alpha', name: 'cloud', status: 'running', hastate: 'started' },
        { type: 'qemu', vmid: 105, node: 'beta', lock: 'migrate' },
        { type: 'storage', node: 'alpha' },
      ],
    });
    const clock = await pve.nodes.clockSeconds();
    expect(Math.abs((clock ?? 0) - Date.now() / 1000)).toBeLessThan(60);
    expect(await pve.nodes.clusterGuests()).toMatchObject([
      { vmid: 104, kind: 'lxc', node: 'alpha', haState: 'started', lock: null },
      { vmid: 105, kind: 'qemu', node: 'beta', haState: null, lock: 'migrate' },
    ]);
  });
});

describe('what cannot be taken back', () => {
  const task = 'UPID:alpha:0000A1B2:00C0FFEE:6A0B0C0D:vzdestroy:104:felhom@pve!agent:';
  const vm = { vmid: parseVmid(105), kind: 'qemu' } as const;

  it('is asked for by one request each, whose task it answers', async () => {
    const { pve, asked, bodies } = await withAnswers({ '': task });
    const volid = 'bk:backup/vzdump-lxc-104-a.tar.zst';
    const { irreversible } = pve;
    expect(await irreversible.destroyGuest(ct, { purge: true, unreferencedDisks: false })).toBe(task);
    expect(await irreversible.deleteBackup(volid)).toBe(task);
    expect(await irreversible.rollback(vm, 'before')).toBe(task);
    expect(await irreversible.restoreOver({ guest: ct, volid, storage: 'tank' })).toBe(task);
    expect(await irreversible.restoreOver({ guest: vm, volid: 'bk:backup/x.vma', storage: undefined })).toBe(task);
    expect(asked).toEqual([
      'DELETE /api2/json/nodes/alpha/lxc/104?purge=1&destroy-unreferenced-disks=0',
      'DELETE /api2/json/nodes/alpha/storage/bk/content/bk%3Abackup%2Fvzdump-lxc-104-a.tar.zst',
      'POST /api2/json/nodes/alpha/qemu/105/snapshot/before/rollback',
      'POST /api2/json/nodes/alpha/lxc',
      'POST /api2/json/nodes/alpha/qemu',
    ]);
    const forms = bodies.map((body) => Object.fromEntries(new URLSearchParams(body)));
    expect(forms.slice(3)).toEqual([
      { vmid: '104', ostemplate: volid, restore: '1', storage: 'tank', force: '1' },
      { vmid: '105', archive: 'bk:backup/x.vma', force: '1' },
    ]);
  });

  it('is not taken for done when the answer is no task', async () => {
    const { pve } = await withAnswers({ '': null });
    await expect(pve.irreversible.destroyGuest(ct)).rejects.toMatchObject({ outcomeUnknown: true });
  });
});

describe('snapshots', () => {
  it('are listed with their time, and without the present state', async () => {
    const { pve } = await withAnswers({
      '/snapshot': [
        { name: 'before', snaptime: 1_795_000_000, description: 'two\nlines' },
        { name: 'broken' },
        { name: 'current', description: 'You are here!', digest: 'x' },
      ],
    });
    expect(await pve.guests.snapshots(ct)).toEqual([
      { name: 'before', takenSeconds: 1_795_000_000, description: 'two\nlines' },
      { name: 'broken', takenSeconds: null, description: '' },
    ]);
  });
});
