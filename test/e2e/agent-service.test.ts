import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSystemdHost, type SystemdHost } from '../lab/systemd-host.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * The agent's units with systemd as PID 1: under their own user, in their sandbox, at their places. One host for all: a
 * test begins with the service stopped.
 */

const agent = 'felhom-agent.service';
const once = 'felhom-agent-reconcile.service';

let host: SystemdHost;
beforeAll(async () => {
  host = await openSystemdHost({
    agent: { reconcile: { interval: '500ms' }, bounds: { stop_grace: '1s', task_poll: '100ms', lock_poll: '100ms' } },
    // What the package says is judged by test/systemd; here it is only made quicker.
    dropIn: 'WatchdogSec=5s',
  });
});
afterAll(async () => await host.close());

const cores = (): unknown => host.sim.guests.get(101)?.config['cores'];
const pid = async (): Promise<number> => Number((await host.system.show(agent, 'MainPID'))['MainPID']);

describe('the agent as a service', () => {
  it('makes one pass for a timer', async () => {
    await host.declare({ cores: 2 });
    await host.system.mustExec('systemctl', 'start', once);
    expect(await host.system.show(once, 'Result', 'ExecMainStatus')).toMatchObject({
      Result: 'success',
      ExecMainStatus: '0',
    });
    expect(cores()).toBe(2);
  });

  it('is started once it serves, says that it lives, and keeps guests as declared', async () => {
    await host.system.mustExec('systemctl', 'start', agent);
    // Type=notify: it has said so by now.
    expect(await host.system.show(agent, 'ActiveState', 'SubState')).toMatchObject({
      ActiveState: 'active',
      SubState: 'running',
    });
    const status = await host.system.mustExec('felhom-agent', 'status', '--live', '--json');
    expect(JSON.parse(status)).toMatchObject({ schema: 'felhom.status/1' });
    await host.declare({ cores: 4 });
    await waitUntil('it is as declared', async () => cores() === 4);
    const [told] = Object.values(await host.system.show(agent, 'WatchdogTimestampMonotonic'));
    await waitUntil('the watchdog hears it again', async () => {
      const [now] = Object.values(await host.system.show(agent, 'WatchdogTimestampMonotonic'));
      return Number(now) > Number(told);
    });
  });

  it('that hangs is ended by the watchdog and started again', async () => {
    const before = await pid();
    await host.system.mustExec('kill', '-STOP', String(before));
    await waitUntil(
      'another one runs',
      async () => {
        const { MainPID, ActiveState } = await host.system.show(agent, 'MainPID', 'ActiveState');
        return ActiveState === 'active' && Number(MainPID) !== before;
      },
      { boundMs: 60_000 },
    );
    expect(await host.system.journal(agent)).toContain('Watchdog timeout');
  });

  it('stopped while a task takes long ends by itself, and the next start resolves what it left', async () => {
    host.sim.faults.order({ fault: 'slow_power', vmid: 101, ms: 8_000 });
    await host.declare({ cores: 4, state: 'running' });
    await waitUntil('its task runs', async () => host.sim.tasks.list().some(({ type }) => type === 'vzstart'));
    await host.system.mustExec('systemctl', 'stop', agent);
    const said = await host.system.journal(agent);
    expect(said).toMatch(/felhom-agent\.service: Deactivated successfully\.\s.*\s*$/);
    expect(said).not.toContain('timed out');
    const open = await host.system.mustExec('felhom-agent', 'journal', 'list', '--open', '--json');
    expect(JSON.parse(open)).toMatchObject({ entries: [{ vmid: 101, action: 'start', outcome: 'open' }] });
    await host.system.mustExec('systemctl', 'start', agent);
    await waitUntil('it runs', async () => host.sim.guests.get(101)?.running === true, { boundMs: 30_000 });
    await waitUntil('nothing is open', async () => {
      const now = await host.system.mustExec('felhom-agent', 'journal', 'list', '--open', '--json');
      return (JSON.parse(now) as { entries: unknown[] }).entries.length === 0;
    });
    expect(host.sim.tasks.list().filter(({ type }) => type === 'vzstart')).toHaveLength(1);
  });
});
