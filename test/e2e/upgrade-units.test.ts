import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProcesses } from '../lab/find-processes.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { must } from '../lab/process.ts';
import { makeSystemdGuest, type SystemdGuest } from '../lab/systemd-guest.ts';
import { addShop, editShop, makeImage, quickUpgrades, serving, standingOf, waitUntilStep } from '../lab/upgrades.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * An upgrade dies and its guard with it, in a guest with systemd as PID 1: what makes one version whole again is a unit.
 * The test calls nothing of ours after the blow.
 */

const boot = 'felhom-controller-boot.service';
const timer = 'felhom-controller-recover.timer';
let lab: Lab;
let guest: SystemdGuest;
/** Named after the lab, so that its processes are known among those of others on this machine. */
let shop: string;

beforeAll(async () => {
  lab = await openLab({ controller: { upgrade: quickUpgrades, agents: [] } });
  shop = basename(lab.folder).toLowerCase();
  await makeImage(lab, 'shop:1', { run: serving(1) });
  await makeImage(lab, 'shop:2', { run: serving(2) });
  await addShop(lab, shop, 'shop:1');
  await editShop(lab, shop, 'shop:2');
  guest = await makeSystemdGuest(lab, [boot, timer]);
});
afterAll(async () => {
  await guest.destroy();
  await lab.close();
});

const isOld = { image: 'shop:1', status: 'running', schema: '1', hasRows: true, restart: 'unless-stopped', owed: [] };

/** Has the guest upgrade the stack, and freezes the controller as soon as it tells `step`. */
async function heldAt(step: string): Promise<void> {
  const log = join(lab.folder, 'logs', `unit-${step}.log`);
  const command = `FELHOM_LOG=debug setsid felhom-controller upgrade apply ${shop} >${log} 2>&1 &`;
  await guest.mustExec('sh', '-c', command);
  await waitUntilStep({ output: () => readFileSync(log, 'utf8'), hasEnded: () => false }, shop, step);
  const found = findProcesses((words) => words.includes('upgrade') && words.at(-2) === shop);
  for (const pid of found) process.kill(pid, 'SIGSTOP');
  expect(found).toHaveLength(1);
}

describe('an upgrade that dies together with its guard', () => {
  it('is settled by the timer', async () => {
    await guest.boot();
    // Every minute is what test/e2e/systemd waits for.
    const often = '[Timer]\\nOnCalendar=\\nOnCalendar=*-*-* *:*:0/2\\n';
    const folder = `/etc/systemd/system/${timer}.d`;
    await guest.mustExec('sh', '-c', `mkdir ${folder} && printf '${often}' >${folder}/often.conf`);
    await guest.mustExec('sh', '-c', `systemctl daemon-reload && systemctl restart ${timer}`);
    await heldAt('stopped');
    expect(await standingOf(lab, shop)).toMatchObject({ status: 'exited' });
    // In brackets, so that the shell that says it is not meant.
    await guest.mustExec('sh', '-c', 'pkill -KILL -f "[f]elhom-guard"; pkill -KILL -f "[u]pgrade apply"');
    await settled();
    expect(await standingOf(lab, shop)).toEqual(isOld);
  });

  it('with the whole guest, by a power cut, is settled at the next boot', async () => {
    await guest.mustExec('systemctl', 'disable', '--now', timer);
    await heldAt('activated');
    await guest.cutPower();
    expect((await standingOf(lab, shop)).owed).not.toEqual([]);
    await lab.engine.start();
    await must('docker', ['start', guest.name]);
    await settled();
    expect(await standingOf(lab, shop)).toEqual(isOld);
  });
});

async function settled(): Promise<void> {
  await waitUntil('nothing is owed', async () => (await standingOf(lab, shop)).owed.length === 0, { boundMs: 60_000 });
}
