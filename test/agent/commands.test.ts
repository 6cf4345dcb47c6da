import { chmod, chown, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { startInBackground } from '../lab/process.ts';
import { agentProgram } from '../lab/programs.ts';
import { type Host, openHost } from './host.ts';
import { followUntil, goodReport, isOver, orderFault, until } from './rig.ts';

let host: Host | undefined;
afterEach(async () => {
  await host?.close();
  host = undefined;
});

/** A controller that answers one request of the host with a whole cycle. */
async function answerOnce(
  client: AgentApi,
  grade: 'app-consistent' | 'crash-consistent' = 'app-consistent',
): Promise<string> {
  const due = await until('the controller is asked', async () => {
    const answer = await client.due({ waitSeconds: 2 });
    return answer.reason === 'requested' || answer.reason === 'gate_open' ? answer : undefined;
  });
  const jobId = due.job_id ?? '';
  await followUntil(client, jobId, (status) => status.phase === 'ready' || isOver(status));
  await client.quiesced(jobId);
  await followUntil(client, jobId, isOver);
  await client.report(jobId, {
    ...goodReport('run'),
    grade,
    grade_reason: grade === 'app-consistent' ? null : 'redis was killed',
  });
  return jobId;
}

describe('without a configuration', () => {
  it('status says so and ends 0, also with --check', async () => {
    host = await openHost();
    const nowhere = ['--config', join(host.folder, 'nowhere.yaml')];
    const told = await host.run(...nowhere, 'status');
    expect([told.code, told.stdout]).toEqual([
      0,
      expect.stringMatching(/^felhom-agent is not configured: there is no /),
    ]);
    const end = await host.run(...nowhere, 'status', '--check', '--json');
    expect(end.code).toBe(0);
    expect(end.json).toMatchObject({ schema: 'felhom.status/1', configured: false, attention: [] });
  });
});

describe('backup now', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ended by %s exits %i and leaves its job to serve', async (signal, code) => {
    const of = await openHost();
    host = of;
    await of.adopt(101);
    await of.serve();
    const args = [agentProgram, '--config', of.config, 'backup', 'now', '101'];
    const command = startInBackground(process.execPath, args, { logFile: join(of.folder, 'now.log') });
    await until('it follows the job', () => command.output().includes('its controller is asked'));
    command.child.kill(signal);
    expect(await command.ended).toMatchObject({ code });
    expect(command.output()).toContain('guest 101: under way');
    expect((await of.run('status', '--json')).json).toMatchObject({ jobs: [{ vmid: 101 }] });
  });

  it('asks the controller, follows the job and prints what came of it', async () => {
    const of = await openHost();
    host = of;
    const token = await of.adopt(101);
    await of.serve();
    const client = await of.client(token);
    const [jobId, end] = await Promise.all([answerOnce(client), of.run('backup', 'now', '101', '--json')]);
    expect(end.code).toBe(0);
    expect(end.json).toMatchObject({
      schema: 'felhom.backup/1',
      backups: [
        {
          vmid: 101,
          job_id: jobId,
          outcome: 'done',
          grade: 'app-consistent',
          gate: 'hook',
          target: { storage: 'bk', type: 'dir' },
          downtime_ms: 800,
          error: null,
        },
      ],
    });
    const text = await of.run('backup', 'status', '101');
    expect(text.stdout).toContain('done, app-consistent');
    expect(`${end.stdout}${end.stderr}${text.stdout}${of.log()}`).not.toContain(token);
  });

  it('ends 5 when the controller reports less', async () => {
    const of = await openHost();
    host = of;
    const token = await of.adopt(101);
    await of.serve();
    const client = await of.client(token);
    const [, end] = await Promise.all([answerOnce(client, 'crash-consistent'), of.run('backup', 'now', '101')]);
    expect(end.code).toBe(5);
    expect(end.stdout).toContain('crash-consistent (redis was killed)');
  });

  it('goes on without a controller that does not answer, crash-consistent, and says so before', async () => {
    const of = await openHost();
    host = of;
    await of.adopt(101);
    await of.serve();
    const end = await of.run('backup', 'now', '101');
    expect(end.code).toBe(5);
    expect(end.stderr).toContain('goes on crash-consistent');
    expect(end.stdout).toContain('crash-consistent (no_controller)');
  });

  it('asks nobody with --without-quiesce', async () => {
    const of = await openHost({ bounds: { operator_claim: '60s' } });
    host = of;
    await of.adopt(101);
    await of.serve();
    const end = await of.run('backup', 'now', '101', '--without-quiesce', '--json');
    expect(end.code).toBe(5);
    expect(end.json).toMatchObject({
      backups: [{ outcome: 'done', grade: 'crash-consistent', grade_reason: 'not_quiesced' }],
    });
  });

  it('ends 3 with the reason when the controller cancels, and nothing was captured', async () => {
    const of = await openHost();
    host = of;
    const token = await of.adopt(101);
    await of.serve();
    const client = await of.client(token);
    const refuse = async (): Promise<void> => {
      const due = await until('the controller is asked', async () => {
        const answer = await client.due({ waitSeconds: 2 });
        return answer.reason === 'requested' ? answer : undefined;
      });
      await client.status(due.job_id ?? '');
      await client.cancel(due.job_id ?? '');
    };
    const [, end] = await Promise.all([refuse(), of.run('backup', 'now', '101', '--json')]);
    expect(end.code).toBe(3);
    expect(end.json).toMatchObject({
      backups: [
        { outcome: 'aborted', error: { message: expect.stringContaining("cancelled by the guest's controller") } },
      ],
    });
    expect((await of.run('backup', 'list', '101', '--json')).json).toMatchObject({ backups: [] });
  });

  it('ends 3 with the reason when vzdump fails', async () => {
    const of = await openHost();
    host = of;
    await of.adopt(101);
    await orderFault(of.node.sim, { fault: 'fail_archive', vmid: 101 });
    await of.serve();
    const end = await of.run('backup', 'now', '101');
    expect(end.code).toBe(3);
    expect(end.stdout).toContain('archive failed by order');
  });

  it('ends 10 when nobody serves, 2 when no guest is named', async () => {
    host = await openHost();
    const absent = await host.run('backup', 'now', '101');
    expect(absent.code).toBe(10);
    expect(absent.stderr).toContain('systemctl start felhom-agent');
    expect((await host.run('backup', 'now')).code).toBe(2);
    expect((await host.run('backup', 'now', 'web')).code).toBe(2);
    expect((await host.run('backup', 'now', '101', '--all')).code).toBe(2);
  });

  it('returns the job with --no-wait', async () => {
    const of = await openHost();
    host = of;
    await of.serve();
    const end = await of.run('backup', 'now', '--all', '--no-wait', '--json');
    expect(end.code).toBe(0);
    expect(end.json).toMatchObject({ backups: [{ vmid: 101, outcome: 'started' }] });
  });

  it('takes those that are due with --due, and then none', async () => {
    const of = await openHost();
    host = of;
    await of.serve();
    expect((await of.run('backup', 'due', '--json')).json).toMatchObject({
      schema: 'felhom.due/1',
      guests: [{ due: true, reason: 'never' }],
    });
    expect((await of.run('backup', 'now', '--due')).code).toBe(5);
    const none = await of.run('backup', 'now', '--due');
    expect(none).toMatchObject({ code: 0 });
    expect(none.stdout).toContain('nothing is due');
    expect((await of.run('backup', 'list', '--json')).json).toMatchObject({
      schema: 'felhom.backup/1',
      backups: [{ vmid: 101, grade: 'crash-consistent' }],
    });
  });
});

describe('guest adopt', () => {
  it('writes a new token 0600 to the file and nowhere else, and stores its hash alone', async () => {
    host = await openHost();
    const file = join(host.folder, 'out.token');
    const end = await host.run('guest', 'adopt', '101', '--token-out', file, '--json');
    expect(end.code).toBe(0);
    const token = (await readFile(file, 'utf8')).trim();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(token).toMatch(/^fh_[\w-]{43}$/);
    const stored = await readFile(join(host.folder, 'state/guests.json'), 'utf8');
    expect(`${end.stdout}${end.stderr}${stored}`).not.toContain(token);
  });

  it('revokes the old token with serve running, and overwrites no file', async () => {
    const of = await openHost();
    host = of;
    const old = await of.adopt(101);
    await of.serve();
    const before = await of.client(old);
    await before.due();
    const fresh = await of.adopt(101);
    await expect(before.due()).rejects.toMatchObject({ kind: 'refused', status: 401 });
    await (await of.client(fresh)).due();
    const taken = join(of.folder, 'taken');
    await writeFile(taken, 'mine');
    expect((await of.run('guest', 'adopt', '101', '--token-out', taken)).code).toBe(2);
    expect(await readFile(taken, 'utf8')).toBe('mine');
  });
});

describe('status and config', () => {
  it('shows address and fingerprint for pinning, and needs no serve', async () => {
    const of = await openHost();
    host = of;
    await of.serve();
    await of.kill();
    const end = await of.run('status', '--json');
    expect(end.code).toBe(0);
    expect(end.json).toMatchObject({
      configured: true,
      url: expect.stringMatching(/^https:\/\/127\.0\.0\.1:\d+$/),
      fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}/),
    });
    const live = await of.run('status', '--live', '--check');
    expect(live.code).toBe(6);
    expect(live.stdout).toContain('serve does not answer');
  });

  it('ends 6 with --check when the newest backup failed', async () => {
    const of = await openHost();
    host = of;
    await orderFault(of.node.sim, { fault: 'fail_archive', vmid: 101 });
    await of.serve();
    await of.run('backup', 'now', '101');
    expect((await of.run('status', '--check')).code).toBe(6);
    await of.run('backup', 'now', '101');
    expect((await of.run('status', '--check')).code).toBe(0);
  });

  it('has nothing to say of a guest that is not here, for which nobody but a slip of the hand has asked', async () => {
    const of = await openHost();
    host = of;
    await of.serve();
    const asked = await of.run('backup', 'now', '999', '--json');
    expect(asked).toMatchObject({ code: 12, json: { backups: [{ job_id: null, error: { code: 'unknown_guest' } }] } });
    expect(await of.run('guest', 'adopt', '999')).toMatchObject({
      code: 12,
      stderr: expect.stringContaining('felhom-agent guest adopt 999 --token-out FILE'),
    });
    expect((await of.run('status', '--check')).code).toBe(0);
  });

  it('names the place and the nearest key of a mistake', async () => {
    host = await openHost();
    const text = await readFile(host.config, 'utf8');
    await writeFile(host.config, `${text}socet: /x\n`);
    const end = await host.run('config', 'check');
    expect(end.code).toBe(2);
    expect(end.stderr).toMatch(/agent\.yaml:\d+:1: socet: unknown key, did you mean socket\?/);
  });

  it('is not in order while the token for Proxmox VE cannot be used', async () => {
    host = await openHost();
    expect((await host.run('config', 'check')).code).toBe(0);
    const { pve } = parse(await readFile(host.config, 'utf8')) as { pve: { token_file: string } };
    await chmod(pve.token_file, 0o644);
    const open = await host.run('config', 'check');
    expect([open.code, open.stderr]).toEqual([2, expect.stringMatching(/others may read .*\n {2}Run: chmod 600 /)]);
    await rm(pve.token_file);
    const gone = await host.run('config', 'check');
    expect([gone.code, gone.stderr]).toEqual([2, expect.stringMatching(/cannot be read: .*ENOENT/)]);
  });

  it('keeps the socket to root, and the key and every state file to itself', async () => {
    const of = await openHost();
    host = of;
    await of.adopt(101);
    await of.serve();
    expect((await stat(of.node.socket)).mode & 0o777).toBe(0o600);
    for (const name of ['tls-key.pem', 'guests.json', 'journal.jsonl'])
      expect((await stat(join(of.folder, 'state', name))).mode & 0o077).toBe(0);
  });
});

describe('guest hold and guest adopt by root', () => {
  it("leave nothing in the state folder that the agent's own user cannot open", async () => {
    const of = await openHost();
    host = of;
    const state = join(of.folder, 'state');
    const user = process.getuid?.() === 0 ? 65_534 : (process.getuid?.() ?? 0);
    await mkdir(state);
    await chmod(of.folder, 0o755);
    if (process.getuid?.() === 0) await chown(state, user, user);
    expect((await of.run('guest', 'hold', '101')).code).toBe(0);
    expect((await of.run('guest', 'adopt', '101', '--token-out', join(of.folder, 'token'))).code).toBe(0);
    const left = await readdir(state, { recursive: true });
    expect(left).toContain('guests.json');
    for (const name of left) expect((await stat(join(state, name))).uid, name).toBe(user);
  });
});

describe('guest hold while serve runs', () => {
  it('counts at once for backups, and after a restart too', async () => {
    const of = await openHost();
    host = of;
    await of.adopt(101);
    await of.serve();
    const due = async (): Promise<unknown> => (await of.run('backup', 'due', '101', '--json')).json['guests'];
    expect(await due()).toMatchObject([{ due: true }]);
    expect((await of.run('guest', 'hold', '101', '--reason', 'migration')).code).toBe(0);
    expect(await due()).toMatchObject([{ due: false, reason: 'held' }]);
    await of.terminate();
    await of.serve();
    expect((await of.run('guest', 'list')).stdout).toContain('held: migration');
    expect((await of.run('guest', 'release', '101')).code).toBe(0);
    expect(await due()).toMatchObject([{ due: true }]);
  });
});
