import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { agentProgram, buildPrograms } from '../lab/programs.ts';
import { openReconcileRig, type ReconcileRig, type ReconcileRigOptions } from './reconcile-rig.ts';
import { until } from './rig.ts';

let rig: ReconcileRig;
const open = async (options: ReconcileRigOptions): Promise<ReconcileRig> => {
  rig = await openReconcileRig(options);
  return rig;
};
beforeAll(async () => await buildPrograms());
afterEach(async () => await rig.close());

const program = (...args: string[]): { child: ChildProcess; said: () => string; ended: Promise<number | null> } => {
  const child = spawn(process.execPath, [agentProgram, ...args, '--json', '--config', rig.configFile], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  return { child, said: () => text, ended: once(child, 'close').then(([code]) => code as number | null) };
};
const stopped = { vmid: 101, running: false, desired: { state: 'running' } } as const;

describe('reconcile as a program', () => {
  it('killed while its task runs leaves an entry that recover resolves, and starts nothing twice', async () => {
    const { fault, tasks, pass } = await open({ guests: [stopped] });
    await fault({ fault: 'slow_power', vmid: 101, ms: 1_500 });
    const first = program('reconcile', '--once');
    await until('the task runs', () => tasks().length === 1);
    first.child.kill('SIGKILL');
    await first.ended;
    const list = program('journal', 'list', '--open');
    expect(await list.ended).toBe(0);
    expect(JSON.parse(list.said())).toMatchObject({ entries: [{ vmid: 101, action: 'start', outcome: 'open' }] });
    expect((await pass({ lockTimeoutMs: 10_000 })).guests).toMatchObject([{ outcome: 'in_sync' }]);
    const again = program('recover');
    expect(await again.ended).toBe(0);
    expect(tasks()).toEqual(['vzstart 101 felhom@pve!agent']);
  });

  it('in a loop makes its passes, and ends by SIGTERM with the pass under way at its end', async () => {
    const { fault, tasks, running } = await open({ guests: [stopped] });
    await fault({ fault: 'slow_power', vmid: 101, ms: 400 });
    const loop = program('reconcile', '--interval', '1h');
    await until('the task runs', () => tasks().length === 1);
    loop.child.kill('SIGTERM');
    expect(await loop.ended).toBe(0);
    expect(running(101)).toBe(true);
    const reports = loop
      .said()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(reports).toMatchObject([{ schema: 'felhom.reconcile/1', outcome: 'applied' }]);
  });

  it('says which way it is to be used', async () => {
    await open({ guests: [] });
    const bare = program('reconcile');
    expect(await bare.ended).toBe(2);
    expect(bare.said()).toContain('--once');
  });

  it.each([
    ['a guest that failed', { fault: 'refuse', method: 'POST', path: '/status/start', times: 0 }, 3],
    ['a node that cannot be asked', { fault: 'daemon_down', times: 0 }, 10],
    ['a deferred guest', { fault: 'slow_power', vmid: 102, ms: 1 }, 0],
  ])('ends for %s as the table of exit codes says', async (what, order, code) => {
    const { fault, sim } = await open({ guests: [stopped] });
    await fault(order);
    if (what === 'a deferred guest')
      sim.guests.update(101, (guest) => {
        guest.lock = 'backup';
      });
    const once = program('reconcile', '--once', '--lock-timeout', '100ms');
    expect(await once.ended).toBe(code);
  });
});
