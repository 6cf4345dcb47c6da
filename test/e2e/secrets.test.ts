import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runningContainers, startBackup } from '../lab/backup.ts';
import { findProcesses } from '../lab/find-processes.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { plainService } from '../lab/stacks.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * Everything that the programs print, log and are started with, in good runs and in failing ones with debug logs, is
 * collected and searched for the two secrets there are: the token for PVE and the token of the guest.
 */

let lab: Lab;
let secrets: string[];
let argumentsSeen: string;

beforeAll(async () => {
  lab = await openLab({ agent: { pve_jobs: 'gate' } });
  await lab.addStack('web', plainService('app'));
  const guestToken = (await readFile(join(lab.guest, 'etc/felhom/token'), 'utf8')).trim();
  secrets = [lab.simulator.token, lab.simulator.token.split('=').at(-1) ?? '', guestToken];
  argumentsSeen = await sampleArguments(async () => await exercise(guestToken));
});
afterAll(async () => await lab.close());

const debug = { FELHOM_LOG: 'debug' };

/** Good runs, then every failure in which a token is near: refused, foreign, malformed, an agent or a PVE that is not there. */
async function exercise(guestToken: string): Promise<void> {
  const watch = lab.startInGuest('watch', ['backup', 'watch'], debug);
  await lab.onHost('backup', 'now', String(lab.vmid));
  await watch.stop();
  await startBackup(lab, debug).finished;
  for (const args of [
    ['status', '--live', '--json'],
    ['config', 'show'],
    ['config', 'show', '--json'],
    ['guest', 'show', '101', '--json'],
    ['guest', 'list'],
    ['backup', 'list', '--json'],
    ['backup', 'due'],
  ]) {
    await lab.onHost(...args);
  }
  for (const args of [
    ['status', '--live', '--json'],
    ['config', 'show', '--json'],
    ['backup', 'due'],
    ['backup', 'history', '--json'],
    ['stack', 'list'],
  ]) {
    await lab.inGuest(args, debug);
  }
  await lab.order({ fault: 'unauthorized', times: 3 });
  await lab.onHost('backup', 'list');
  await lab.order({ fault: 'html', times: 3 });
  await lab.onHost('backup', 'list');
  await lab.clearFaults();
  const tokenFile = join(lab.guest, 'etc/felhom/token');
  for (const wrong of [`${guestToken}x`, `${guestToken}\n${guestToken}`, `Bearer ${guestToken}`]) {
    await writeFile(tokenFile, wrong, { mode: 0o600 });
    await lab.inGuest(['backup', 'now', '--json'], debug);
  }
  await writeFile(tokenFile, guestToken, { mode: 0o600 });
  await lab.stopSimulator();
  await lab.inGuest(['backup', 'now', '--json'], debug);
  await lab.onHost('backup', 'list');
  lab.agent().child.kill('SIGKILL');
  await lab.agent().ended;
  await lab.inGuest(['backup', 'now'], debug);
}

/** Arguments and environments of every program of the lab that was seen while `work` went on. */
async function sampleArguments(work: () => Promise<void>): Promise<string> {
  const seen = new Set<string>();
  const over = work().finally(() => seen.add('over'));
  await waitUntil(
    'the exercise is over',
    () => {
      findProcesses((words) => {
        const line = words.join(' ');
        if (line.includes('felhom')) seen.add(line);
        return false;
      });
      return seen.has('over');
    },
    { boundMs: 200_000 },
  );
  await over;
  return [...seen].join('\n');
}

/** Where in `text` a secret stands, with a little around it: empty when there is none. */
function leaksIn(text: string): string[] {
  return secrets.flatMap((secret) => {
    const at = text.indexOf(secret);
    return at === -1 ? [] : [text.slice(Math.max(0, at - 80), at)];
  });
}

describe('a secret', () => {
  it('is looked for in what was really printed: the search itself finds one', async () => {
    const captured = await lab.captured();
    expect(captured.length).toBeGreaterThan(5_000);
    expect(leaksIn(`${captured} ${secrets[2]}`)).toHaveLength(1);
    expect(argumentsSeen).toContain('backup now');
  });

  it('is in no output, log or JSON of any program', async () => {
    expect(leaksIn(await lab.captured())).toEqual([]);
  });

  it("is in no program's arguments", () => {
    expect(leaksIn(argumentsSeen)).toEqual([]);
  });

  it('is in no file of ours but the one it was given in, and those are readable by root alone', async () => {
    const files = [
      ...(await filesBelow(join(lab.folder, 'host/state'))),
      ...(await filesBelow(join(lab.guest, 'var/lib/felhom'))),
    ];
    expect(files.length).toBeGreaterThan(3);
    const leaking: string[] = [];
    const readable: string[] = [];
    for (const file of files) {
      if (leaksIn(await readFile(file, 'utf8')).length > 0) leaking.push(file);
      // A certificate is there to be shown.
      if (((await stat(file)).mode & 0o077) !== 0 && !file.endsWith('tls-cert.pem')) readable.push(file);
    }
    expect({ leaking, readable }).toEqual({ leaking: [], readable: [] });
  });

  it('and nothing of all this left an app down', async () => {
    expect(await runningContainers(lab)).toEqual(['web-app-1']);
  });
});

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
