import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openWorld, type World } from './testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world.close());
afterEach(async () => {
  world.sim.faults.clear();
  await world.control('POST', '/sim/guests/101', { running: true, lock: null });
});

const ask = (verb: string, params: Record<string, string | number> = {}): Promise<string> =>
  world.data('POST', `/nodes/pve1/lxc/101/status/${verb}`, params);
const running = async (): Promise<boolean> =>
  (await world.data<{ status: string }>('GET', '/nodes/pve1/lxc/101/status/current')).status === 'running';

describe('power', () => {
  it('stops and starts', async () => {
    expect(await world.ended(await ask('shutdown'))).toBe('OK');
    expect(await running()).toBe(false);
    expect(await world.data('GET', '/nodes/pve1/lxc/101/status/current')).not.toHaveProperty('pid');
    expect(await world.ended(await ask('start'))).toBe('OK');
    expect(await running()).toBe(true);
    expect(await world.ended(await ask('reboot'))).toBe('OK');
    expect(await running()).toBe(true);
  });

  it('a guest that takes no notice of a shutdown fails the task, and force ends it', async () => {
    world.sim.faults.order({ fault: 'ignore_shutdown', times: 2 });
    expect(await world.ended(await ask('shutdown', { timeout: 0 }))).toBe('container did not stop');
    expect(await running()).toBe(true);
    expect(await world.ended(await ask('shutdown', { timeout: 0, forceStop: 1 }))).toBe('OK');
    expect(await running()).toBe(false);
  });

  it('a stop overrules a shutdown that runs, which then ends without a word', async () => {
    world.sim.faults.order({ fault: 'ignore_shutdown' });
    const shutdown = await ask('shutdown', { timeout: 30 });
    const stop = await ask('stop', { 'overrule-shutdown': 1 });
    expect(await world.ended(stop)).toBe('OK');
    expect(await world.ended(shutdown)).toBe('unexpected status');
    expect(await world.log(shutdown)).toEqual([
      "command 'lxc-stop -n 101 --nokill --timeout 30' failed: received interrupt",
    ]);
  });

  it('a change that needs a restart waits for it', async () => {
    const path = '/nodes/pve1/lxc/101/config';
    await world.data('PUT', path, { features: 'nesting=1', cores: 3 });
    expect(await world.data('GET', path)).toMatchObject({ features: 'nesting=1', cores: 3 });
    expect(await world.data('GET', `${path}?current=1`)).not.toHaveProperty('features');
    expect(await world.data('GET', '/nodes/pve1/lxc/101/pending')).toContainEqual({
      key: 'features',
      pending: 'nesting=1',
    });
    await world.ended(await ask('reboot'));
    expect(await world.data('GET', `${path}?current=1`)).toMatchObject({ features: 'nesting=1', cores: 3 });
  });

  it('a guest that is not there: the start is taken and fails in its task', async () => {
    const upid = await world.data<string>('POST', '/nodes/pve1/lxc/999/status/start');
    expect(await world.ended(upid)).toBe("Configuration file 'nodes/pve1/lxc/999.conf' does not exist");
  });
});
