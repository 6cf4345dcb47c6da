import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startPveSim } from './sim.ts';
import { isAlive, markOf } from './state/processes.ts';
import { call, openWorld, until, type World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const start = (): Promise<string> => world.vzdump({ vmid: '101', storage: 'bk', compress: 'zstd' });
const holdFreeze = (file: string): void =>
  world.sim.guests.update(101, (guest) => {
    guest.commands = { freeze: `while [ ! -e ${file} ]; do sleep 0.02; done` };
  });

describe('a restart', () => {
  it('keeps certificate, token, guests, tasks and backups', async () => {
    const { token, fingerprint } = world.sim;
    await world.data('PUT', '/nodes/pve1/lxc/101/config', { description: 'kept' });
    const upid = await start();
    expect(await world.ended(upid)).toBe('OK');
    await world.restart();
    expect(world.sim).toMatchObject({ token, fingerprint });
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).toMatchObject({ description: 'kept\n' });
    expect(await world.ended(upid)).toBe('OK');
    expect((await world.log(upid)).at(-1)).toBe('TASK OK');
    expect(await world.data('GET', '/nodes/pve1/storage/bk/content')).toHaveLength(1);
  });

  it('does not end a job that runs', async () => {
    const go = join(world.folder, 'go');
    holdFreeze(go);
    const upid = await start();
    await world.logged(upid, /create storage snapshot/);
    await world.sim.stop();
    writeFileSync(go, '');
    world.sim = await startPveSim({ ...world.options, guests: [] });
    expect(await world.ended(upid)).toBe('OK');
    expect((await world.log(upid)).at(-1)).toBe('TASK OK');
  });
});

describe('the program', () => {
  it('prints one line, is killed in the middle of a job, and goes on with it when started again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pve-sim-program-'));
    try {
      mkdirSync(join(folder, 'guest'));
      const first = await startProgram(folder);
      const go = join(folder, 'go');
      const guest = `101=${join(folder, 'guest')},freeze=while [ ! -e ${go} ]; do sleep 0.02; done`;
      first.kill('SIGTERM');
      await until(
        () => first.exitCode() !== null,
        () => 'the end of the program after SIGTERM',
      );
      expect(first.exitCode()).toBe(0);
      const second = await startProgram(folder, guest);
      expect(second.ready).toMatchObject({
        token: first.ready.token,
        fingerprint: first.ready.fingerprint,
        node: 'pve1',
      });
      const upid = await post(second.ready);
      second.kill('SIGKILL');
      await until(
        () => !isAlive(second.mark),
        () => 'the end of the program',
      );
      writeFileSync(go, '');
      const third = await startProgram(folder, guest);
      await until(
        async () => (await exitstatus(third.ready, upid)) === 'OK',
        () => 'the end of the job',
      );
      third.kill('SIGTERM');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('says what is wrong with its arguments', async () => {
    const child = spawn(process.execPath, programArgs(['--guest', 'nonsense', '--state', '/nowhere']), {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await until(
      () => child.exitCode !== null,
      () => 'the end',
    );
    expect(child.exitCode).toBe(2);
    expect(text).toContain('--guest 101=DIR');
  });
});

interface Ready {
  url: string;
  token: string;
  fingerprint: string;
  node: string;
}

interface Program {
  ready: Ready;
  mark: { pid: number; startTime: number };
  kill(signal: NodeJS.Signals): void;
  exitCode(): number | null;
}

function programArgs(args: string[]): string[] {
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  return ['--import', loader, fileURLToPath(new URL('main.ts', import.meta.url)), '--', ...args];
}

async function startProgram(folder: string, guest = `101=${join(folder, 'guest')}`): Promise<Program> {
  const args = [
    '--listen',
    '127.0.0.1:0',
    '--state',
    'state',
    '--node',
    'pve1',
    '--guest',
    guest,
    '--storage',
    'bk=bk',
    '--delays',
    'none',
  ];
  const child = spawn(process.execPath, programArgs(args), {
    env: { ...process.env, INIT_CWD: folder },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let line = '';
  child.stdout.on('data', (chunk: Buffer) => {
    line += chunk.toString();
  });
  await until(
    () => line.endsWith('\n'),
    () => 'the line of the program',
  );
  const mark = markOf(child.pid ?? 0);
  if (mark === null) throw new Error('the program is gone');
  return {
    ready: JSON.parse(line) as Ready,
    mark,
    kill: (signal) => child.kill(signal),
    exitCode: () => child.exitCode,
  };
}

async function post(ready: Ready): Promise<string> {
  const answer = await call(ready, 'POST', '/api2/json/nodes/pve1/vzdump', {
    vmid: '101',
    storage: 'bk',
    compress: 'zstd',
  });
  return String(answer.json?.data);
}

async function exitstatus(ready: Ready, upid: string): Promise<unknown> {
  const answer = await call(ready, 'GET', `/api2/json/nodes/pve1/tasks/${encodeURIComponent(upid)}/status`);
  return (answer.json?.data as { exitstatus?: string } | undefined)?.exitstatus;
}
