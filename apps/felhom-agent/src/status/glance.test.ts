import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openJournal } from '@felhom/durable/journal.ts';
import { toLine } from '@felhom/durable/journal-format.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isOpen, type JobRecord, jobRecord, newJob, replay } from '../backup/job.ts';
import { gradeOf } from '../backup/notes.ts';
import { draftPayload } from '../operations/draft.ts';
import { newOperation } from '../operations/record.ts';
import { openGuestsState } from '../serve/guests-state.ts';
import { alertsFile, guestsFile, journalPath, operationsFile, servingFile } from '../state-files.ts';
import { damageOf } from './damage.ts';
import { glanceAt } from './glance.ts';
import { guestsAt, placesInText, quickPlaces } from './places.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-glance-'));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const at = '2026-11-20T01:00:00.000Z';
const make = (id: string, quiesce = true) =>
  newJob({ job_id: id, vmid: 101, origin: 'controller', opened_at: at, host_boot_id: 'b', quiesce });
const report = {
  run_id: 'r',
  grade: 'app-consistent' as const,
  grade_reason: null,
  downtime_ms: 1,
  kept_running: [],
  timeline: [],
  at,
};

describe('a glance at the state', () => {
  it('sees the same jobs as those who read the journal by its schema', async () => {
    const records: JobRecord[] = [
      { kind: 'opened', job: make('open') },
      { kind: 'opened', job: make('good') },
      { kind: 'changed', job_id: 'good', at, set: { phase: 'done', task_ended: true, report, volid: 'bk:x' } },
      { kind: 'opened', job: make('unreported') },
      { kind: 'changed', job_id: 'unreported', at, set: { phase: 'done', task_ended: true } },
      { kind: 'opened', job: make('alone', false) },
      { kind: 'changed', job_id: 'alone', at, set: { phase: 'done', task_ended: true } },
      { kind: 'opened', job: make('degraded') },
      {
        kind: 'changed',
        job_id: 'degraded',
        at,
        set: { phase: 'done', task_ended: true, report, degraded: 'gate_closed' },
      },
      { kind: 'opened', job: make('running on') },
      {
        kind: 'changed',
        job_id: 'running on',
        at,
        set: { phase: 'failed', upid: 'U', error: { code: 'x', message: 'm', hint: 'h' } },
      },
    ];
    const journal = await openJournal({
      path: journalPath(folder),
      schema: jobRecord,
      keep: (all) => all,
      onFatal: () => {},
    });
    for (const record of records) await journal.append(record);
    await journal.close();
    const read = [...replay(records).values()].map((job) => ({
      job_id: job.job_id,
      phase: job.phase,
      volid: job.volid,
      open: isOpen(job),
      grade: job.phase === 'done' ? gradeOf(job).grade : null,
      grade_reason: job.phase === 'done' ? gradeOf(job).reason : null,
    }));
    expect(glanceAt(folder)).toMatchObject({ damaged: [], jobs: read });
  });

  it('sees guests, alerts and where serve listens', async () => {
    const guests = await openGuestsState(guestsFile(folder), () => []);
    await guests.set(101, { token_sha256: 'ab'.repeat(32) });
    await guests.set(102, {
      identity: {
        ...guests.entry(102).identity,
        generation: 4,
        refused: { reason: 'restored_copy', generation: 3, bootId: 'b', at },
      },
    });
    await alertsFile(folder).write({ alerts: [{ key: 'k', vmid: 101, message: 'm', hint: 'h', at }] });
    await operationsFile(folder).write({ agent_id: 'ab'.repeat(16), high_water_ms: 1, operations: [] });
    await servingFile(folder).write({ url: 'https://127.0.0.1:1', port: 1, fingerprint: 'AB', node: 'pve1' });
    expect(glanceAt(folder)).toEqual({
      reconcile: { last: null, open: [] },
      serving: { url: 'https://127.0.0.1:1', fingerprint: 'AB' },
      agentId: 'ab'.repeat(16),
      openOperations: 0,
      guests: [
        { vmid: 101, hasToken: true, generation: 0, refused: null },
        { vmid: 102, hasToken: false, generation: 4, refused: 'restored_copy' },
      ],
      alerts: [{ message: 'm', hint: 'h' }],
      jobs: [],
      declared: null,
      damaged: [],
    });
  });

  it('counts signed operations that nobody saw the end of', async () => {
    const payload = draftPayload(
      { operation: 'backup-delete', vmid: 101, agent: 'ab'.repeat(16), volid: 'bk:x', sizeBytes: 1, validForMs: 1 },
      Date.parse(at),
    );
    const open = newOperation(payload, { id: 'a', keyIds: [], at, restoreStorage: null });
    const ended = { ...open, id: 'b', outcome: 'done' as const };
    const file = { agent_id: 'ab'.repeat(16), high_water_ms: 1, operations: [open, ended] };
    await operationsFile(folder).write(file);
    expect(glanceAt(folder).openOperations).toBe(1);
  });

  it('sees nothing in an empty folder', () => {
    expect(glanceAt(join(folder, 'absent'))).toMatchObject({ guests: [], alerts: [], jobs: [], damaged: [] });
  });

  it('names files that are damaged, and those who read them properly say how', async () => {
    await writeFile(join(folder, 'guests.json'), '{"version":1,"value":{"gue');
    await writeFile(join(folder, 'alerts.json'), '{"version":9,"sequence":0,"value":{}}');
    await writeFile(join(folder, 'journal.jsonl'), '12 00000000 {"kind":\nnonsense\n');
    await writeFile(join(folder, 'declared.json'), '{"version":1,"value":{"docu');
    expect(new Set(glanceAt(folder).damaged)).toEqual(
      new Set(['guests.json', 'alerts.json', 'journal.jsonl', 'declared.json']),
    );
    expect(await damageOf(folder, 'declared.json')).toMatchObject([
      { message: expect.stringContaining('cannot be read') },
    ]);
    expect(await damageOf(folder, 'guests.json')).toMatchObject([
      { message: expect.stringContaining('cannot be read') },
    ]);
    expect(await damageOf(folder, 'alerts.json')).toMatchObject([
      { message: expect.stringContaining('newer version (9)') },
    ]);
    expect(await damageOf(folder, 'journal.jsonl')).toMatchObject([{ message: expect.stringContaining('damaged') }]);
  });
});

describe('a journal with one byte that was flipped', () => {
  it.each(['journal.jsonl', 'actions.jsonl'])('is damaged, although every line of it is JSON: %s', async (name) => {
    const record = toLine({ kind: 'changed', job_id: 'a', at, set: { phase: 'done' } }).toString('utf8');
    const flipped = record.replace('done', 'dong');
    await writeFile(join(folder, name), `${record}${record}`);
    expect(glanceAt(folder).damaged).toEqual([]);
    await writeFile(join(folder, name), `${record}${flipped}${record}`);
    expect(glanceAt(folder).damaged).toEqual([name]);
    const told = (await damageOf(folder, name)).map(({ message }) => message);
    expect(told.join('\n')).toContain('what was recorded there is lost');
  });
});

describe('the places of a configuration', () => {
  it('are read without YAML where they are written plainly', () => {
    const text = 'listen: 10.0.3.1:8470   # here\nstate: "/var/lib/a b"\nguests: \'/etc/g\'\npve: { url: x }\n';
    expect(placesInText(text)).toEqual({ listen: '10.0.3.1:8470', state: '/var/lib/a b', guests: '/etc/g' });
  });

  it.each(['state: &here /x\n', '{ state: /x }\n', 'state: |\n  /x\n', 'state: *there\n'])(
    'are left to YAML for %j',
    async (text) => {
      const file = join(folder, 'agent.yaml');
      await writeFile(file, text);
      expect(quickPlaces(file)).toBeUndefined();
    },
  );

  it('find the guests that have a file', async () => {
    await writeFile(join(folder, '101.yaml'), 'vmid: 101\n');
    await writeFile(join(folder, '102.yml'), `{ "vmid": 102, "token_sha256": "${'ab'.repeat(32)}" }`);
    await writeFile(join(folder, '.103.yaml'), 'vmid: 103\n');
    expect([...guestsAt(folder)]).toEqual([
      [101, { hasToken: false }],
      [102, { hasToken: true }],
    ]);
  });

  it('find the guests of one file, and read no device and nothing endless', async () => {
    const file = join(folder, 'guests.yaml');
    await writeFile(file, `vmid: 101\n--- # next\nvmid: 102\ntoken_sha256: ${'ab'.repeat(32)}\n`);
    expect([...guestsAt(file)]).toEqual([
      [101, { hasToken: false }],
      [102, { hasToken: true }],
    ]);
    await symlink('/dev/zero', join(folder, '103.yaml'));
    await symlink(join(folder, 'nowhere'), join(folder, '104.yaml'));
    await writeFile(file, `vmid: 105\n${'#'.repeat(10_000_000)}`);
    expect([...guestsAt(folder)]).toEqual([]);
    expect([...guestsAt(join(folder, 'nowhere'))]).toEqual([]);
  });
});
