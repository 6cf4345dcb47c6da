import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auditorToken, emptyToken, limitedToken, openRecordedNode } from './testing/recorded-node.ts';
import { leaveOut, openRecordings, type Recording, recordedLog } from './testing/recordings.ts';
import { until, type WireAnswer, type World } from './testing/world.ts';

const recordings = openRecordings();
const found = recordings ?? new Map<string, Recording>();
/** Where there are no recordings there is nothing to compare; a line on standard error has said so. */
const describeRecorded = recordings === null ? leaveOut : describe;

let world: World;
beforeAll(async () => {
  world = await openRecordedNode();
});
afterAll(() => world.close());

function recordingOf(name: string): Recording {
  const recording = found.get(name);
  if (recording === undefined) throw new Error(`no recording ${name}`);
  return recording;
}

async function replay(name: string, token?: string | null): Promise<WireAnswer> {
  const { method, path, query, body, encoding } = recordingOf(name).request;
  const headers: Record<string, string> = {};
  if (body !== '')
    headers['Content-Type'] = encoding === 'json' ? 'application/json' : 'application/x-www-form-urlencoded';
  const target = `${path.replace('/api2/json', '')}${query === null ? '' : `?${query}`}`;
  return world.api(method, target, {}, { body, headers, ...(token === undefined ? {} : { token }) });
}

interface Seen {
  statusLine: string;
  contentType: string | undefined;
  body: unknown;
}

function recorded(name: string): Seen {
  const { response } = recordingOf(name);
  const contentType = response.headers.find(([key]) => key === 'Content-Type')?.[1];
  return seen(response.status_line, contentType, response.body_text);
}

/** The answer of our own node to the recorded request, in the same form. */
async function replayed(name: string, token?: string | null): Promise<Seen> {
  const answer = await replay(name, token);
  return seenOf(answer);
}

function seenOf(answer: WireAnswer): Seen {
  const contentType = answer.headers['content-type'];
  return seen(
    `HTTP/1.1 ${answer.status} ${answer.reason}`,
    typeof contentType === 'string' ? contentType : undefined,
    answer.text,
  );
}

function seen(statusLine: string, contentType: string | undefined, body: string): Seen {
  return { statusLine, contentType, body: contentType === undefined ? body : normalise(body) };
}

/** UPIDs differ from run to run; everything else must be the same. */
function normalise(body: string): unknown {
  return JSON.parse(body.replaceAll(/UPID:[^"]+:(\w+):([^:"]*):[^:"]+:/g, 'UPID:$1:$2'));
}

function keysOf(body: string): string[] {
  const { data } = JSON.parse(body) as { data: unknown };
  const one: unknown = Array.isArray(data) ? data[0] : data;
  return Object.keys(one as object).toSorted();
}

const put = (vmid: number, params: Record<string, string | number>): Promise<unknown> =>
  world.data('PUT', `/nodes/pve1/lxc/${vmid}/config`, params);
const setGuest = (vmid: number, change: object): Promise<WireAnswer> =>
  world.control('POST', `/sim/guests/${vmid}`, change);

describeRecorded('answers as the recorded node does', () => {
  it.each([
    'version',
    'unknown-path',
    'unknown-node',
    'unimplemented-method',
    'unknown-vmid-status-current',
    'unknown-vmid-stop',
    'unknown-vmid-shutdown',
    'invalid-vmid-low',
    'proto-json-error',
    'invalid-param-vzdump-none',
    'vzdump-unknown-param',
    'vzdump-bad-prune',
    'vzdump-script-by-token',
    'vzdump-pool-noexist',
    'content-unknown-storage',
    'config-post-lxc',
    'config-delete-rootfs',
    'config-delete-unknown',
    'config-put-empty',
    'config-put-readonly-unprivileged',
    'config-put-bind-mount-token',
    'desc-long-8193-put',
    'start-already-running',
    'locked-start-skiplock-token',
    'task-status-bad-upid',
    'task-status-unknown-upid',
    'task-status-wrong-node',
    'qemu-config-of-lxc-vmid',
    'cluster-nextid',
  ])('%s', async (name) => {
    expect(await replayed(name)).toEqual(recorded(name));
  });

  it.each([
    ['auth-none', null],
    ['auth-bad-secret', 'root@pam!sim=wrong'],
    ['auth-unknown-user', 'nobody@pam!x=wrong'],
    ['auth-malformed-nosecret', 'root@pam!sim'],
    ['auth-version-noperm-token', `${emptyToken.id}=${emptyToken.secret}`],
    ['perm-list-noperm', `${emptyToken.id}=${emptyToken.secret}`],
    ['perm-tasks-noperm', `${emptyToken.id}=${emptyToken.secret}`],
    ['perm-config-get-403', `${emptyToken.id}=${emptyToken.secret}`],
    ['perm-content-403', `${emptyToken.id}=${emptyToken.secret}`],
    ['perm-start-403', `${auditorToken.id}=${auditorToken.secret}`],
    ['perm-config-put-403-description', `${auditorToken.id}=${auditorToken.secret}`],
    ['perm-vzdump-403-storage', `${auditorToken.id}=${auditorToken.secret}`],
    ['perm-vzdump-403-vm', `${auditorToken.id}=${auditorToken.secret}`],
    ['vzdump-prune-by-limited-token', `${limitedToken.id}=${limitedToken.secret}`],
  ])('%s', async (name, token) => {
    expect(await replayed(name, token)).toEqual(recorded(name));
  });

  it('refuses a header of another scheme', async () => {
    const answer = await world.api(
      'GET',
      '/nodes/pve1/lxc',
      {},
      { token: null, headers: { Authorization: 'Bearer abc' } },
    );
    expect(seenOf(answer)).toEqual(recorded('auth-wrong-scheme'));
  });

  it('lists with the fields of a running guest, and of one that is stopped', async () => {
    const list = await world.api('GET', '/nodes/pve1/lxc');
    expect(keysOf(list.text)).toEqual(keysOf(recordingOf('lxc-list-running').response.body_text));
    const running = await world.api('GET', '/nodes/pve1/lxc/100/status/current');
    expect(keysOf(running.text)).toEqual(keysOf(recordingOf('lxc-status-current-running').response.body_text));
    await setGuest(100, { running: false, lock: 'backup' });
    const stopped = await world.api('GET', '/nodes/pve1/lxc/100/status/current');
    await setGuest(100, { running: true, lock: null });
    expect(keysOf(stopped.text)).toEqual(keysOf(recordingOf('locked-status-current').response.body_text));
  });

  it('keeps a description as recorded, down to the digest of the file', async () => {
    const gets = [...found.keys()].filter((name) => /^desc-.*-get$/.test(name) && name !== 'desc-deleted-get');
    expect(gets.length).toBeGreaterThan(8);
    for (const name of gets) {
      const written = found.get(name.replace(/-get$/, '-put'));
      const readBack = JSON.parse(recordingOf(name).response.body_text) as { data: { description?: string } };
      if (written === undefined || name === 'desc-long-8193-get')
        await put(100, { description: (readBack.data.description ?? '').replace(/\n$/, '') });
      else expect(await replayed(name.replace(/-get$/, '-put'))).toEqual(recorded(name.replace(/-get$/, '-put')));
      expect(await replayed(name)).toEqual(recorded(name));
    }
    expect(await replayed('desc-delete')).toEqual(recorded('desc-delete'));
    expect(await replayed('desc-deleted-get')).toEqual(recorded('desc-deleted-get'));
  });

  it('refuses a stale digest and takes the present one', async () => {
    expect(await replayed('config-put-digest-ok')).toEqual(recorded('config-put-digest-ok'));
    expect(await replayed('config-put-digest-stale')).toEqual(recorded('config-put-digest-stale'));
    await put(100, { delete: 'description' });
  });

  it('refuses changes to a locked guest, and says so in the task where the call itself is taken', async () => {
    await setGuest(100, { lock: 'backup' });
    await setGuest(101, { lock: 'backup' });
    expect(await replayed('locked-config-put')).toEqual(recorded('locked-config-put'));
    expect(await replayed('config-delete-lock-by-token')).toEqual(recorded('config-delete-lock-by-token'));
    for (const name of ['locked-shutdown-when-running', 'locked-stop-when-running']) {
      const answer = await replay(name);
      expect(seenOf(answer)).toEqual(recorded(name));
      const upid = String(answer.json?.data);
      expect(await world.ended(upid)).toBe('CT is locked (backup)');
      expect(await world.log(upid)).toEqual(['TASK ERROR: CT is locked (backup)']);
    }
    await setGuest(100, { running: false });
    expect(await replayed('locked-stop-when-stopped')).toEqual(recorded('locked-stop-when-stopped'));
    await setGuest(100, { lock: null, running: true });
    await setGuest(101, { lock: null });
  });

  it('a guest restarted during a backup goes down and stays down', async () => {
    await setGuest(101, { lock: 'backup' });
    const answer = await replay('reboot-during-snapshot-backup');
    expect(seenOf(answer)).toEqual(recorded('reboot-during-snapshot-backup'));
    const upid = String(answer.json?.data);
    await world.ended(upid);
    expect(await world.log(upid)).toEqual(recordedLog(found, 'reboot-during-snapshot-backup.task.log'));
    expect(await world.data('GET', '/nodes/pve1/lxc/101/status/current')).toMatchObject({
      status: 'stopped',
      lock: 'backup',
    });
    await setGuest(101, { lock: null, running: true });
  });

  it('a machine keeps its description without a line end, and its changes can run in the background', async () => {
    expect(await replayed('qemu-create')).toEqual(recorded('qemu-create'));
    const config = async (): Promise<Record<string, unknown>> => {
      await until(
        async () => (await world.api('GET', '/nodes/pve1/qemu/300/config')).status === 200,
        () => 'VM 300',
      );
      return world.data('GET', '/nodes/pve1/qemu/300/config');
    };
    expect((await config())['memory']).toBe('64');
    for (const name of ['single', 'multi', 'nlnl']) {
      expect(await replayed(`qemu-desc-${name}-put`)).toEqual(recorded(`qemu-desc-${name}-put`));
      const readBack = JSON.parse(recordingOf(`qemu-desc-${name}-get`).response.body_text) as {
        data: Record<string, unknown>;
      };
      expect((await config())['description']).toBe(readBack.data['description']);
    }
    for (const name of [
      'qemu-config-put-sync',
      'qemu-config-post-invalid',
      'qemu-config-post-async-bg0',
      'qemu-config-post-async',
      'qemu-stop-stopped',
    ]) {
      expect(await replayed(name)).toEqual(recorded(name));
    }
    const current = await world.api('GET', '/nodes/pve1/qemu/300/status/current');
    expect(keysOf(current.text)).toEqual(keysOf(recordingOf('qemu-status-current-stopped').response.body_text));
    const list = await world.api('GET', '/nodes/pve1/qemu');
    expect(keysOf(list.text)).toEqual(keysOf(recordingOf('qemu-list').response.body_text));
  });
});
