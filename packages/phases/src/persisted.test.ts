import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { defineMachine } from './machine.ts';
import { type PersistedMachine, persistedMachine } from './persisted.ts';

const edges = {
  idle: ['checking'],
  checking: ['verifying', 'failed'],
  verifying: ['checking', 'success', 'failed'],
  success: [],
  failed: [],
} as const;
const machine = defineMachine({ initial: 'idle', terminal: ['success', 'failed'], edges });
const data = z.object({ image: z.string() });

let folder: string;
let path: string;
let nowMs: number;
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined };
const open = (more = {}): PersistedMachine<typeof edges, { image: string }> =>
  persistedMachine({ machine, path, version: 1, data, clock, ...more });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-phases-'));
  path = join(folder, 'upgrade.json');
  nowMs = 1000;
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a machine over a file', () => {
  test('has no standing before anything is begun', async () => {
    expect(await open().read()).toBeNull();
    await expect(open().step('checking')).rejects.toMatchObject({ code: 'bug' });
  });

  test('stands after a crash where its last step said', async () => {
    await open().begin('v2', { image: 'a' });
    nowMs = 2000;
    await open().step('checking', { data: { image: 'b' } });
    expect(await open().read()).toEqual({
      phase: 'checking',
      target: 'v2',
      startedAtMs: 1000,
      updatedAtMs: 2000,
      attempts: 1,
      checkFailures: 0,
      lastError: null,
      steps: 1,
      history: [
        { phase: 'idle', atMs: 1000 },
        { phase: 'checking', atMs: 2000 },
      ],
      data: { image: 'b' },
    });
  });

  test('refuses a step that is not in its table and stays where it is', async () => {
    const upgrade = open();
    await upgrade.begin('v2', { image: 'a' });
    await expect(upgrade.step('success')).rejects.toMatchObject({
      code: 'bug',
      message: expect.stringContaining('idle -> success'),
    });
    expect((await upgrade.read())?.phase).toBe('idle');
  });

  test('refuses a step from a phase in which it is not', async () => {
    const upgrade = open();
    await upgrade.begin('v2', { image: 'a' });
    await upgrade.stepFrom('idle', 'checking');
    await upgrade.stepFrom('checking', 'verifying');
    await expect(upgrade.stepFrom('checking', 'failed')).rejects.toMatchObject({ code: 'bug' });
    expect((await upgrade.read())?.phase).toBe('verifying');
  });

  test('does not compile a literal step that is not in its table', () => {
    const stepFrom = open().stepFrom<'idle', 'success'>;
    expectTypeOf(stepFrom).parameter(1).toBeNever();
  });

  test('keeps what is noted between steps', async () => {
    const upgrade = open();
    await upgrade.begin('v2', { image: 'a' });
    await upgrade.note({ lastError: 'not healthy', checkFailures: 2 });
    expect(await open().read()).toMatchObject({ phase: 'idle', lastError: 'not healthy', checkFailures: 2, steps: 0 });
  });

  test('is as if never begun once it is removed', async () => {
    await open().begin('v2', { image: 'a' });
    await open().remove();
    expect(await open().read()).toBeNull();
  });
});

describe('attempts', () => {
  const run = async (target: string): Promise<void> => {
    const upgrade = open();
    await upgrade.begin(target, { image: 'a' });
    await upgrade.step('checking');
    await upgrade.step('failed', { lastError: 'no' });
  };

  test('are counted per target and begin anew with another', async () => {
    for (const target of ['v2', 'v2', 'v2']) await run(target);
    expect(await open().read()).toMatchObject({ attempts: 3, lastError: 'no' });
    await run('v3');
    expect(await open().read()).toMatchObject({ attempts: 1, target: 'v3' });
  });

  test('start with a clean slate', async () => {
    await run('v2');
    expect(await open().begin('v2', { image: 'a' })).toMatchObject({
      lastError: null,
      steps: 0,
      history: [{ phase: 'idle' }],
    });
  });

  test('do not begin while one has not ended', async () => {
    await open().begin('v2', { image: 'a' });
    await open().step('checking');
    await expect(open().begin('v3', { image: 'a' })).rejects.toMatchObject({ code: 'busy' });
    expect(await open().read()).toMatchObject({ target: 'v2', phase: 'checking' });
  });
});

describe('failed checks', () => {
  const counting = (): ReturnType<typeof open> => open({ success: ['success'], checked: ['verifying'] });
  const toVerifying = async (): Promise<void> => {
    await counting().begin('v2', { image: 'a' });
    await counting().step('checking');
    await counting().step('verifying');
  };

  test('count in a row, over restarts of whoever counts, with the last of their words', async () => {
    await toVerifying();
    await counting().countFailure('no answer');
    expect(await counting().countFailure('exit code 1')).toMatchObject({ checkFailures: 2, lastError: 'exit code 1' });
    await counting().countPass();
    expect(await counting().countFailure('once more')).toMatchObject({ checkFailures: 1 });
  });

  test('count in no other phase', async () => {
    await counting().begin('v2', { image: 'a' });
    await expect(counting().countFailure('no')).rejects.toMatchObject({ code: 'bug' });
    expect(await counting().read()).toMatchObject({ checkFailures: 0, lastError: null });
  });

  test('and the last error are forgotten by success', async () => {
    await toVerifying();
    await counting().countFailure('not healthy yet');
    expect(await counting().step('success')).toMatchObject({ checkFailures: 0, lastError: null });
  });

  test('stay where it ended otherwise', async () => {
    await toVerifying();
    await counting().countFailure('not healthy');
    expect(await counting().step('failed')).toMatchObject({ checkFailures: 1, lastError: 'not healthy' });
  });
});

describe('bounds', () => {
  test('keep the newest of a long history, which still reads back', async () => {
    const upgrade = open({ historyEntries: 3 });
    await upgrade.begin('v2', { image: 'a' });
    await upgrade.step('checking');
    for (let i = 0; i < 5; i += 1) {
      await upgrade.step('verifying');
      await upgrade.step('checking');
    }
    expect((await upgrade.read())?.history.map(({ phase }) => phase)).toEqual(['checking', 'verifying', 'checking']);
  });

  test('end a machine that goes in circles', async () => {
    const upgrade = open({ mostSteps: 3 });
    await upgrade.begin('v2', { image: 'a' });
    for (const phase of ['checking', 'verifying', 'checking'] as const) await upgrade.step(phase);
    await expect(upgrade.step('verifying')).rejects.toMatchObject({
      code: 'bug',
      message: expect.stringContaining('circles'),
    });
    expect((await upgrade.read())?.phase).toBe('checking');
  });
});

describe('a file that is refused', () => {
  const spoil = async (change: (standing: Record<string, unknown>) => void): Promise<void> => {
    await open().begin('v2', { image: 'a' });
    await open().step('checking');
    const file = z.object({ version: z.number(), value: z.record(z.string(), z.unknown()) });
    const { version, value } = file.parse(JSON.parse(await readFile(path, 'utf8')));
    change(value);
    await writeFile(path, JSON.stringify({ version, value }));
  };

  test.each([
    ['an unknown phase', (standing: Record<string, unknown>) => (standing['phase'] = 'flying')],
    [
      'a phase that its history does not end in',
      (standing: Record<string, unknown>) => (standing['phase'] = 'verifying'),
    ],
    [
      'a history that is no walk',
      (standing: Record<string, unknown>) => {
        standing['history'] = [
          { phase: 'success', atMs: 1 },
          { phase: 'checking', atMs: 2 },
        ];
      },
    ],
    ['data of another form', (standing: Record<string, unknown>) => (standing['data'] = {})],
  ])('has %s: nothing is stepped, begun or overwritten', async (_, change) => {
    await spoil(change);
    const before = await readFile(path, 'utf8');
    const refused = open();
    const acts = [
      () => refused.read(),
      () => refused.step('verifying'),
      () => refused.begin('v9', { image: 'a' }),
      () => refused.note({}),
    ];
    for (const act of acts) {
      await expect(act()).rejects.toMatchObject({ code: 'state_unreadable' });
    }
    expect(await readFile(path, 'utf8')).toBe(before);
  });

  test('is of a newer program', async () => {
    await open({ version: 2 }).begin('v2', { image: 'a' });
    await expect(open().read()).rejects.toMatchObject({ code: 'state_newer', hint: expect.stringContaining('newer') });
  });
});
