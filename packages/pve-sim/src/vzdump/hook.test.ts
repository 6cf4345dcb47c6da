import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { markOf } from '../state/processes.ts';
import { parseUpid } from '../tasks/upid.ts';
import { openWorld, until, type World } from '../testing/world.ts';

let world: World;
let folder: string;
const script = (): string => join(folder, 'hook.sh');
const calls = (): string[] => readFileSync(join(folder, 'calls'), 'utf8').trimEnd().split('\n');

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pve-sim-hook-'));
  const conf = join(folder, 'vzdump.conf');
  writeFileSync(conf, `# the node's own configuration\nscript: ${script()}\n`);
  writeFileSync(join(folder, 'calls'), '');
  world = await openWorld({ vzdumpConf: conf });
});
afterEach(async () => {
  await world.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A hook that notes each call and then does `body`. */
function writeHook(body = ''): void {
  writeFileSync(script(), `#!/bin/sh\necho "$@" >>${join(folder, 'calls')}\n${body}\n`);
  chmodSync(script(), 0o755);
}

const backUp = async (
  more: Record<string, string | number> = {},
): Promise<{ upid: string; end: string; log: string[] }> => {
  const upid = await world.vzdump({ vmid: '101', storage: 'bk', compress: 'zstd', ...more });
  return { upid, end: await world.ended(upid), log: await world.log(upid) };
};

describe('the hook of vzdump.conf', () => {
  it('is called in the recorded order in snapshot mode', async () => {
    writeHook();
    expect((await backUp()).end).toBe('OK');
    expect(calls()).toEqual([
      'job-init',
      'job-start',
      'backup-start snapshot 101',
      'pre-stop snapshot 101',
      'pre-restart snapshot 101',
      'post-restart snapshot 101',
      'backup-end snapshot 101',
      'log-end snapshot 101',
      'job-end',
    ]);
  });

  it('is called in the recorded order in stop mode', async () => {
    writeHook();
    await backUp({ mode: 'stop' });
    expect(calls()).toEqual([
      'job-init',
      'job-start',
      'backup-start stop 101',
      'pre-stop stop 101',
      'backup-end stop 101',
      'pre-restart stop 101',
      'post-restart stop 101',
      'log-end stop 101',
      'job-end',
    ]);
  });

  it('is called in the recorded order in suspend mode, after the first copy', async () => {
    writeHook('[ "$1" = pre-stop ] && ls "$DUMPDIR"/*.tmp/srv; exit 0');
    const { log } = await backUp({ mode: 'suspend' });
    expect(calls()).toEqual([
      'job-init',
      'job-start',
      'backup-start suspend 101',
      'pre-stop suspend 101',
      'pre-restart suspend 101',
      'post-restart suspend 101',
      'backup-end suspend 101',
      'log-end suspend 101',
      'job-end',
    ]);
    expect(log).toContain('INFO: data.txt');
    expect(log.indexOf('INFO: data.txt')).toBeGreaterThan(
      log.findIndex((line) => line.startsWith('INFO: first sync finished')),
    );
  });

  it('of a stopped guest has no pre-stop', async () => {
    writeHook();
    await world.control('POST', '/sim/guests/101', { running: false });
    await backUp();
    expect(calls()).toEqual([
      'job-init',
      'job-start',
      'backup-start stop 101',
      'backup-end stop 101',
      'log-end stop 101',
      'job-end',
    ]);
  });

  it('sees its six variables and nothing else', async () => {
    writeHook(`/usr/bin/tr '\\0' '\\n' </proc/$$/environ >${join(folder, 'env')}.$1`);
    await backUp();
    const names = (phase: string): string[] =>
      readFileSync(join(folder, `env.${phase}`), 'utf8')
        .trimEnd()
        .split('\n')
        .toSorted();
    const dump = join(world.folder, 'bk', 'dump');
    expect(names('job-init')).toEqual([`DUMPDIR=${dump}`, 'STOREID=bk']);
    const atStop = names('pre-stop');
    expect(atStop.map((line) => line.split('=')[0])).toEqual([
      'DUMPDIR',
      'HOSTNAME',
      'LOGFILE',
      'STOREID',
      'TARGET',
      'VMTYPE',
    ]);
    expect(atStop).toContain('HOSTNAME=ct101');
    expect(atStop).toContain('VMTYPE=lxc');
    expect(atStop.find((line) => line.startsWith('TARGET='))).toMatch(/dump\/vzdump-lxc-101-[\d_-]+\.tar\.zst$/);
  });

  it('is a child of the process in the UPID', async () => {
    writeHook('echo "parent $PPID"');
    const { upid, log } = await backUp();
    expect(log.filter((line) => line === `INFO: parent ${parseUpid(upid)?.pid}`)).toHaveLength(9);
  });

  it('makes everything wait while it waits, before anything is captured', async () => {
    const go = join(folder, 'go');
    writeHook(`[ "$1" = pre-stop ] && while [ ! -e ${go} ]; do /usr/bin/sleep 0.02; done; exit 0`);
    const upid = await world.vzdump({ vmid: '101', storage: 'bk', mode: 'snapshot' });
    await until(
      () => calls().includes('pre-stop snapshot 101'),
      () => 'the call of pre-stop',
    );
    writeFileSync(join(world.folder, 'guest-101', 'srv', 'written-at-the-gate'), '');
    expect(await world.log(upid)).not.toContain("INFO: create storage snapshot 'vzdump'");
    writeFileSync(go, '');
    expect(await world.ended(upid)).toBe('OK');
    expect(calls()).toContain('pre-restart snapshot 101');
  });

  it('that fails in pre-stop fails this guest, with the recorded words', async () => {
    writeHook('[ "$1" = pre-stop ] && exit 3; exit 0');
    const { end, log } = await backUp();
    expect(end).toBe('job errors');
    expect(log).toContain(
      `ERROR: Backup of VM 101 failed - command '${script()} pre-stop snapshot 101' failed: exit code 3`,
    );
    expect(calls()).toEqual([
      'job-init',
      'job-start',
      'backup-start snapshot 101',
      'pre-stop snapshot 101',
      'backup-abort snapshot 101',
      'log-end snapshot 101',
      'job-end',
    ]);
    expect(await world.data('GET', '/nodes/pve1/storage/bk/content')).toEqual([]);
  });

  it('is killed with its task while it waits', async () => {
    writeHook(`[ "$1" = pre-stop ] && echo $$ >${join(folder, 'pid')} && exec /usr/bin/sleep 600; exit 0`);
    const upid = await world.vzdump({ vmid: '101', storage: 'bk' });
    await until(
      () => calls().includes('pre-stop snapshot 101'),
      () => 'the call of pre-stop',
    );
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
    expect(await world.ended(upid)).toBe('job errors');
    expect((await world.log(upid)).find((line) => line.startsWith('ERROR'))).toMatch(
      /pre-stop snapshot 101' failed: interrupted by signal$/,
    );
    expect(markOf(Number(readFileSync(join(folder, 'pid'), 'utf8')))).toBeNull();
    expect(calls().slice(-3)).toEqual(['backup-abort snapshot 101', 'log-end snapshot 101', 'job-end']);
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).not.toHaveProperty('lock');
  });

  it('of a second job that does not wait is called for job-init only', async () => {
    const go = join(folder, 'go');
    writeHook(`[ "$1" = pre-stop ] && while [ ! -e ${go} ]; do /usr/bin/sleep 0.02; done; exit 0`);
    const first = await world.vzdump({ vmid: '101', storage: 'bk' });
    await until(
      () => calls().includes('pre-stop snapshot 101'),
      () => 'the call of pre-stop',
    );
    const before = calls().length;
    expect((await backUp({ lockwait: 0 })).end).toBe('unexpected status');
    expect(calls().slice(before)).toEqual(['job-init']);
    writeFileSync(go, '');
    await world.ended(first);
  });

  it('that is missing or cannot be executed fails every job at once', async () => {
    expect((await backUp()).end).toBe(`Error: The hook script '${script()}' does not exist.`);
    writeFileSync(script(), '#!/bin/sh\n');
    expect(await backUp()).toMatchObject({
      end: `Error: The hook script '${script()}' is not executable.`,
      log: [`TASK ERROR: Error: The hook script '${script()}' is not executable.`],
    });
  });
});
