import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GuestCommands } from './options.ts';
import { markOf } from './state/processes.ts';
import { parseUpid } from './tasks/upid.ts';
import { openWorld, until, type World } from './testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world.close());
beforeEach(() => world.control('DELETE', '/sim/faults'));
afterEach(async () => {
  await world.control('DELETE', '/sim/faults');
  await world.control('POST', '/sim/guests/101', { lock: null, running: true });
});

const order = async (fault: object): Promise<void> => {
  const answer = await world.control('POST', '/sim/faults', fault);
  expect(answer.text).toContain('"id"');
};
const version = (): Promise<{ status: number; reason: string }> => world.api('GET', '/version');
const start = (more: Record<string, string | number> = {}): Promise<string> =>
  world.vzdump({ vmid: '101', storage: 'bk', compress: 'zstd', ...more });
const setCommands = (commands: GuestCommands): void =>
  world.sim.guests.update(101, (guest) => {
    guest.commands = commands;
  });
const config = (): Promise<Record<string, unknown>> => world.data('GET', '/nodes/pve1/lxc/101/config');
const status = (): Promise<Record<string, unknown>> => world.data('GET', '/nodes/pve1/lxc/101/status/current');

describe('a fault on the wire', () => {
  it('refuses as often as ordered, and only what fits', async () => {
    await order({ fault: 'refuse', method: 'GET', path: '/version', status: 500, text: 'out of order', times: 2 });
    expect((await world.api('GET', '/nodes')).status).toBe(200);
    expect(await version()).toMatchObject({
      status: 500,
      reason: 'out of order',
      text: '{"data":null,"message":"out of order\\n"}',
    });
    expect((await version()).status).toBe(500);
    expect((await version()).status).toBe(200);
  });

  it('hangs until the orders are cleared, then closes the connection', async () => {
    await order({ fault: 'hang', path: '/version' });
    let ended = false;
    const pending = version()
      .catch((error: unknown) => error)
      .finally(() => {
        ended = true;
      });
    expect((await world.api('GET', '/nodes')).status).toBe(200);
    expect(ended).toBe(false);
    await world.control('DELETE', '/sim/faults');
    expect(await pending).toBeInstanceOf(Error);
  });

  it('drops the answer after the effect', async () => {
    await order({ fault: 'drop_answer', method: 'PUT' });
    await expect(world.api('PUT', '/nodes/pve1/lxc/101/config', { description: 'took effect' })).rejects.toThrow(
      /hang up|closed|reset/i,
    );
    expect(await config()).toMatchObject({ description: 'took effect\n' });
  });

  it('keeps the answer back after the effect, until the orders are cleared', async () => {
    await order({ fault: 'hang_answer', method: 'PUT' });
    const pending = world
      .api('PUT', '/nodes/pve1/lxc/101/config', { description: 'unanswered' })
      .catch((error: unknown) => error);
    await until(
      async () => (await config())['description'] === 'unanswered\n',
      () => 'it took effect',
    );
    await world.control('DELETE', '/sim/faults');
    expect(await pending).toBeInstanceOf(Error);
  });

  it('drops the answer to a job that was started all the same', async () => {
    await order({ fault: 'drop_answer', path: '/vzdump' });
    const since = Math.floor(Date.now() / 1000);
    await expect(start({ 'notes-template': 'mark/1 abc' })).rejects.toThrow(/hang up|closed|reset/i);
    const tasks = await world.data<{ upid: string }[]>(
      'GET',
      `/nodes/pve1/tasks?vmid=101&source=all&typefilter=vzdump&since=${since}`,
    );
    const upid = tasks[0]?.upid ?? '';
    expect(await world.ended(upid)).toBe('OK');
    expect((await world.log(upid))[0]).toContain("--notes-template 'mark/1 abc'");
  });

  it('resets the connection without any effect', async () => {
    await order({ fault: 'reset', method: 'PUT' });
    await expect(world.api('PUT', '/nodes/pve1/lxc/101/config', { description: 'never' })).rejects.toThrow(
      /hang up|closed|reset/i,
    );
    expect((await config())['description']).not.toBe('never\n');
  });

  it('takes the daemon behind the proxy away: 595 where that is needed, an answer where it is not', async () => {
    await order({ fault: 'daemon_down', times: 0 });
    expect(await world.api('GET', '/nodes/pve1/lxc')).toMatchObject({
      status: 595,
      reason: 'Connection refused',
      text: '',
    });
    expect(await world.api('PUT', '/nodes/pve1/lxc/101/config', { description: 'x' })).toMatchObject({ status: 595 });
    expect((await world.api('GET', '/nodes/pve1/lxc/101/config')).status).toBe(200);
    expect((await version()).status).toBe(200);
  });

  it('answers 401, HTML, half a document, a lie', async () => {
    await order({ fault: 'unauthorized' });
    expect(await version()).toMatchObject({ status: 401, reason: 'Authentication failed!', text: '' });
    await order({ fault: 'html' });
    expect(await world.api('GET', '/version')).toMatchObject({ status: 502, json: undefined });
    await order({ fault: 'truncated_json' });
    expect(await world.api('GET', '/version')).toMatchObject({ status: 200, json: undefined });
    await order({ fault: 'truncated_json', abrupt: true });
    await expect(world.api('GET', '/version')).rejects.toThrow();
    await order({ fault: 'lie', path: '/status/current', data: { status: 'stopped', uptime: -5 } });
    expect(await status()).toMatchObject({ vmid: 101, status: 'stopped', uptime: -5 });
    expect(await status()).toMatchObject({ status: 'running' });
  });

  it('answers "OK" instead of a task, and starts none', async () => {
    await order({ fault: 'ok_without_upid' });
    const before = await world.data<unknown[]>('GET', '/nodes/pve1/tasks?source=all&typefilter=vzdump');
    expect(await start()).toBe('OK');
    expect(await world.data<unknown[]>('GET', '/nodes/pve1/tasks?source=all&typefilter=vzdump')).toHaveLength(
      before.length,
    );
  });

  it('is refused when it is misspelt, with what was expected', async () => {
    const answer = await world.control('POST', '/sim/faults', { fault: 'explode' });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain('fault');
  });
});

describe('a fault in a job', () => {
  it('fails the snapshot and leaves nothing behind', async () => {
    await order({ fault: 'fail_snapshot', text: 'no space for a snapshot' });
    const upid = await start();
    expect(await world.ended(upid)).toBe('job errors');
    const log = await world.log(upid);
    const at = log.indexOf("INFO: create storage snapshot 'vzdump'");
    expect(log.slice(at, at + 3)).toEqual([
      "INFO: create storage snapshot 'vzdump'",
      "INFO: cleanup temporary 'vzdump' snapshot",
      'ERROR: Backup of VM 101 failed - no space for a snapshot',
    ]);
    expect(await config()).not.toHaveProperty('lock');
    expect(await config()).not.toHaveProperty('parent');
  });

  it('fails after the snapshot', async () => {
    await order({ fault: 'fail_archive', vmid: 101 });
    const upid = await start();
    expect(await world.ended(upid)).toBe('job errors');
    expect((await world.log(upid)).some((line) => line.startsWith('INFO: creating vzdump archive'))).toBe(true);
  });

  it('hangs in the freeze until it is ended, and thaws then', async () => {
    const note = join(world.folder, 'freezer');
    setCommands({ freeze: `echo frozen >${note}`, thaw: `echo thawed >${note}` });
    await order({ fault: 'freeze_hangs', times: 0 });
    const upid = await start();
    await until(
      () => existsSync(note) && readFileSync(note, 'utf8') === 'frozen\n',
      () => 'the freeze',
    );
    expect((await world.log(upid)).at(-1)).toBe("INFO: create storage snapshot 'vzdump'");
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
    expect(await world.ended(upid)).toBe('job errors');
    expect(readFileSync(note, 'utf8')).toBe('thawed\n');
    setCommands({});
  });

  it('hangs in the freeze until the orders are cleared', async () => {
    await order({ fault: 'freeze_hangs', times: 0 });
    const upid = await start();
    await world.logged(upid, /create storage snapshot/);
    await world.control('DELETE', '/sim/faults');
    expect(await world.ended(upid)).toBe('OK');
  });

  it('leaves the guest down with OK in stop mode', async () => {
    await order({ fault: 'leave_down' });
    const upid = await start({ mode: 'stop' });
    expect(await world.ended(upid)).toBe('OK');
    expect((await world.log(upid)).some((line) => line.includes('guest is online again'))).toBe(false);
    expect(await status()).toMatchObject({ status: 'stopped' });
  });

  it('ended while a slow guest starts: killed after five seconds, and the guest stays down', async () => {
    await order({ fault: 'slow_archive', ms: 60_000 });
    await order({ fault: 'slow_power', ms: 30_000 });
    const upid = await start({ mode: 'stop' });
    await world.logged(upid, /creating vzdump archive/);
    const answer = await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
    expect(answer.text).toBe('{"data":null}');
    expect(answer.elapsedMs).toBeGreaterThan(4_900);
    expect(await world.ended(upid)).toBe('unexpected status');
    expect((await world.log(upid)).at(-1)).toBe('INFO: restarting vm');
    expect(await status()).toMatchObject({ status: 'stopped' });
  });

  it('kills the worker where it was ordered, which leaves lock and snapshot', async () => {
    await order({ fault: 'kill_worker', at: 'snapshot' });
    const upid = await start();
    expect(await world.ended(upid)).toBe('unexpected status');
    expect((await world.log(upid)).at(-1)).toBe("INFO: create storage snapshot 'vzdump'");
    expect(await config()).toMatchObject({ lock: 'backup' });
  });

  it('kills whatever worker runs', async () => {
    await order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await start();
    await world.logged(upid, /creating vzdump archive/);
    const pid = parseUpid(upid)?.pid ?? 0;
    expect((await world.control('POST', '/sim/faults', { fault: 'kill_worker' })).text).toBe(`{"killed":[${pid}]}`);
    expect(await world.ended(upid)).toBe('unexpected status');
    expect(markOf(pid)).toBeNull();
    expect(await config()).toMatchObject({ lock: 'backup', parent: 'vzdump' });
  });

  it('a snapshot that cannot be removed leaves its own lock', async () => {
    expect(await world.ended(await start())).toBe('OK'); // whatever an earlier test left is removed here
    await order({ fault: 'stuck_snapshot' });
    expect(await world.ended(await start())).toBe('OK');
    expect(await config()).toMatchObject({ lock: 'snapshot-delete' });
    const next = await start();
    expect(await world.ended(next)).toBe('job errors');
    expect((await world.log(next)).some((line) => line.endsWith('failed - CT is locked (snapshot-delete)'))).toBe(true);
  });

  it('holds the node lock', async () => {
    await order({ fault: 'hold_node_lock' });
    expect(await world.ended(await start({ lockwait: 0 }))).toBe('unexpected status');
    const waiting = await start();
    await world.logged(waiting, /trying to get global lock/);
    await world.control('DELETE', '/sim/faults');
    expect(await world.ended(waiting)).toBe('OK');
  });

  it('takes the storage away', async () => {
    await order({ fault: 'storage_inactive', storage: 'bk' });
    expect((await world.api('GET', '/nodes/pve1/storage/bk/content')).reason).toMatch(
      /^unable to activate storage 'bk'/,
    );
    expect(await world.data('GET', '/nodes/pve1/storage')).toEqual([
      expect.objectContaining({ storage: 'bk', active: 0, total: 0 }),
    ]);
    expect(await world.ended(await start())).toMatch(/^could not activate storage 'bk'/);
  });

  it('shows the log late', async () => {
    await order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await start();
    await world.logged(upid, /creating vzdump archive/);
    await order({ fault: 'log_lag', lines: 1 });
    expect((await world.log(upid)).at(-1)).toBe("INFO: create storage snapshot 'vzdump'");
    expect((await world.log(upid)).at(-1)).toMatch(/creating vzdump archive/);
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
  });
});
