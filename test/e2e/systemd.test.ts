import { appendFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { runningContainers, waitUntilDown, waitUntilUp } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { pairWithoutRestart } from '../lab/stacks.ts';
import { makeSystemdGuest, type SystemdGuest } from '../lab/systemd-guest.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * The units with systemd as PID 1. In each test the snapshot on the host hangs while the apps are down, then something
 * dies. The test calls nothing of ours afterwards: what brings the apps back is what the test is about. Their restart
 * policy is "no", so that the engine does not do it.
 */

const watch = 'felhom-controller-watch.service';
const boot = 'felhom-controller-boot.service';
const timer = 'felhom-controller-recover.timer';
const reconcile = 'felhom-controller-reconcile.service';
const apps = ['shop-app-1', 'shop-db-1'];

let lab: Lab;
let guest: SystemdGuest;

/** Nothing is due by itself: a controller that has just booted would ask for its first backup before the host does. */
const onlyWhenAsked = { defaults: { backup: { storage: 'bk', schedule: 'pve' } } };

beforeEach(async () => {
  const bounds = { max_quiesce: '2m', hung_holder: '1s', watch_backoff: '1s' };
  lab = await openLab({ agent: onlyWhenAsked, controller: { bounds }, agentBounds: { hold_max: '90s' } });
  await lab.addStack('shop', pairWithoutRestart);
});
afterEach(async () => {
  await guest.destroy();
  await lab.close();
});

const debts = async (): Promise<string[]> => await readdir(join(lab.guest, 'var/lib/felhom/debts')).catch(() => []); // No folder: no debts.

/** Has the guest's watch take a backup that hangs on the host while the apps are down. */
async function quiesceByWatch(enabled: readonly string[]): Promise<void> {
  guest = await makeSystemdGuest(lab, [watch, ...enabled]);
  await guest.boot();
  await lab.order({ fault: 'freeze_hangs' });
  const asked = await lab.onHost('backup', 'now', String(lab.vmid), '--no-wait');
  expect(asked.code, `${asked.stdout}${asked.stderr}`).toBe(0);
  await waitUntilDown(lab, apps);
  expect(await debts()).not.toEqual([]);
}

/** What runs and what is owed, once nothing is owed any more or `boundMs` have passed. */
async function afterRecovery(boundMs: number): Promise<{ running: string[]; owed: string[] }> {
  await waitUntilUp(lab, apps, boundMs);
  await waitUntil('no debt is left', async () => (await debts()).length === 0, { boundMs: 20_000 });
  return { running: await runningContainers(lab), owed: await debts() };
}
const allPaid = { running: apps, owed: [] };

describe('the controller as a service', () => {
  it('takes a backup when the host asks for one', async () => {
    guest = await makeSystemdGuest(lab, [watch]);
    await guest.boot();
    const end = await lab.onHost('backup', 'now', String(lab.vmid), '--json');
    expect(end.code, end.stderr).toBe(0);
    expect(end.stdout).toContain('app-consistent');
    expect(await runningContainers(lab)).toEqual(apps);
  });

  it('killed with kill -9 in a quiesce leaves nothing down: guard and ExecStopPost', async () => {
    await quiesceByWatch([]);
    await guest.mustExec('kill', '-KILL', String(await guest.mainPid(watch)));
    expect(await afterRecovery(20_000)).toEqual(allPaid);
  });

  it('killed together with its guard leaves nothing down: ExecStopPost', async () => {
    await quiesceByWatch([]);
    await guest.mustExec('systemctl', 'kill', '--kill-who=all', '--signal=SIGKILL', watch);
    expect(await afterRecovery(20_000)).toEqual(allPaid);
  });

  it('stopped by systemctl in a quiesce brings its apps back first', async () => {
    await quiesceByWatch([]);
    await guest.mustExec('systemctl', 'stop', watch);
    expect(await runningContainers(lab)).toEqual(apps);
    expect(await debts()).toEqual([]);
    expect((await guest.exec('systemctl', 'is-failed', watch)).stdout.trim()).toBe('inactive');
  });

  it('frozen by SIGSTOP is ended after its deadline by the guard', async () => {
    await lab.close();
    lab = await openLab({
      agent: onlyWhenAsked,
      controller: { bounds: { max_quiesce: '3s', hung_holder: '1s' } },
      agentBounds: { hold_max: '90s' },
    });
    await lab.addStack('shop', pairWithoutRestart);
    await quiesceByWatch([]);
    await guest.mustExec('kill', '-STOP', String(await guest.mainPid(watch)));
    expect(await afterRecovery(30_000)).toEqual(allPaid);
  });
});

describe('the timer', () => {
  it('brings back within a minute what neither guard nor service can', async () => {
    guest = await makeSystemdGuest(lab, [timer]);
    await guest.boot();
    await lab.order({ fault: 'freeze_hangs' });
    await guest.mustExec('sh', '-c', 'setsid felhom-controller backup now >/run/backup.log 2>&1 &');
    await waitUntilDown(lab, apps);
    // In brackets, so that the shell that says it is not meant.
    await guest.mustExec(
      'sh',
      '-c',
      'pkill -KILL -f "[f]elhom-guard"; pkill -KILL -f "[f]elhom-controller backup now"',
    );
    expect(await debts()).not.toEqual([]);
    expect(await afterRecovery(75_000)).toEqual(allPaid);
  });

  it('does nothing, and starts nothing, where nothing is owed', async () => {
    guest = await makeSystemdGuest(lab, [timer]);
    await guest.boot();
    await guest.mustExec('systemctl', 'start', 'felhom-controller-recover.service');
    const shown = await guest.mustExec(
      'systemctl',
      'show',
      '--property=ConditionResult,ExecMainPID',
      'felhom-controller-recover.service',
    );
    expect(shown).toContain('ConditionResult=no');
    expect(shown).toContain('ExecMainPID=0');
  });
});

describe('a guest that goes down in a quiesce', () => {
  it('by a shutdown keeps its marker, and its apps come back at the next boot', async () => {
    await quiesceByWatch([boot]);
    await guest.powerOff();
    expect(await debts()).not.toEqual([]);
    await guest.boot();
    expect(await afterRecovery(30_000)).toEqual(allPaid);
  });

  it('by a power cut has its apps back at the next boot', async () => {
    await quiesceByWatch([boot]);
    await guest.cutPower();
    expect(await debts()).not.toEqual([]);
    await guest.boot();
    expect(await afterRecovery(30_000)).toEqual(allPaid);
  });
});

describe('a stack that is declared to run', () => {
  const unitFile = (unit: string): string => join(lab.guest, 'srv/shop', unit);
  const declare = async (): Promise<void> => {
    const texts = {
      'shop-cron.timer': '[Timer]\nOnCalendar=daily\n',
      'shop-cron.service': '[Service]\nType=oneshot\nExecStart=/bin/true\n',
      'shop-mail.service': '[Service]\nExecStart=/bin/sleep 1000\n',
    };
    for (const [unit, text] of Object.entries(texts)) await writeFile(unitFile(unit), text);
    const companions = Object.fromEntries(Object.keys(texts).map((unit) => [unit, unitFile(unit)]));
    const stacks = { shop: { state: 'running', companions } };
    await appendFile(join(lab.guest, 'etc/felhom/controller.yaml'), stringify({ stacks }));
  };
  const active = async (unit: string): Promise<string> =>
    (await guest.exec('systemctl', 'is-active', unit)).stdout.trim();

  it('runs again after a boot that its restart policy does not survive, with its companions; a masked one stays off', async () => {
    await declare();
    guest = await makeSystemdGuest(lab, [reconcile]);
    await guest.boot();
    await waitUntil('the companions are there', async () => (await active('shop-cron.timer')) === 'active');
    await waitUntil('all of them', async () => (await active('shop-mail.service')) === 'active');
    await guest.mustExec('rm', '/etc/systemd/system/shop-mail.service');
    await guest.mustExec('systemctl', 'mask', 'shop-mail.service');
    await guest.powerOff();
    await guest.boot();
    await waitUntilUp(lab, apps, 30_000);
    await waitUntil('the timer runs again', async () => (await active('shop-cron.timer')) === 'active');
    expect(await active('shop-mail.service')).toBe('inactive');
  });
});
