import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ServiceNotifier, serviceNotifier } from './service-notify.ts';

let folder: string;
let socket: string;
let warned: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-notify-'));
  socket = join(folder, 'notify');
  warned = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const notifier = (env: NodeJS.ProcessEnv): ServiceNotifier =>
  serviceNotifier({
    env,
    pid: process.pid,
    commands: systemCommands,
    clock: systemClock,
    warn: (message) => warned.push(message),
  });

/**
 * A service manager's ear: a datagram socket, which node has none of. Answers the words that came, in order; each is
 * followed by a barrier, by which systemd-notify waits until it was heard.
 */
async function listenFor(count: number): Promise<{ words: Promise<string[]> }> {
  const program = `use Socket; socket(my $s, PF_UNIX, SOCK_DGRAM, 0); bind($s, sockaddr_un($ARGV[0])) or die; $| = 1;
    print "up\\n"; for (1 .. 2 * $ARGV[1]) { recv($s, my $word, 4096, 0); print "$word\\n" unless $word =~ /BARRIER/ }`;
  const child = spawn('/usr/bin/perl', ['-e', program, socket, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8');
  });
  await once(child.stdout, 'data');
  return { words: once(child, 'close').then(() => said.trim().split('\n').slice(1)) };
}

describe('a service manager that asked to be told', () => {
  it('hears when we are ready and that we stop', async () => {
    const ear = await listenFor(2);
    const it = notifier({ NOTIFY_SOCKET: socket });
    await it.ready();
    await it.stopping();
    expect(await ear.words).toEqual(['READY=1', 'STOPPING=1']);
    expect(warned).toEqual([]);
  });

  it('hears that we live for as long as we do, and no longer', async () => {
    const ear = await listenFor(2);
    const stop = new AbortController();
    let beats = 0;
    const alive = notifier({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: '90000' }).keepAlive(() => {
      beats += 1;
      if (beats === 5) stop.abort();
      return beats <= 2;
    }, stop.signal);
    expect(await ear.words).toEqual(['WATCHDOG=1', 'WATCHDOG=1']);
    await alive;
    expect(beats).toBe(5);
  });

  it('whose watchdog is meant for another process hears nothing of it', async () => {
    const it = notifier({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: '90000', WATCHDOG_PID: '1' });
    await it.keepAlive(() => true, new AbortController().signal);
    expect(warned).toEqual([]);
  });

  it('that is gone is a warning, once, and no failure', async () => {
    const it = notifier({ NOTIFY_SOCKET: socket });
    await it.ready();
    await it.stopping();
    expect(warned).toHaveLength(1);
  });
});

it('where nobody asked nothing is said', async () => {
  await notifier({}).ready();
  expect(warned).toEqual([]);
});
