import type { Clock } from '@felhom/kernel/clock.ts';
import { describe, expect, it } from 'vitest';
import { PveError } from './errors.ts';
import { carriesMark, findLostStart, type LostStartPorts, resolveLostStart } from './lost-start.ts';
import { readTaskEnd, type TaskListItem } from './tasks.ts';
import { formatUpid, parseVmid } from './upid.ts';
import { markOf } from './vzdump.ts';

const vmid = parseVmid(104);
const mark = markOf('j7');
const command = (notes: string): string =>
  `INFO: starting new backup job: vzdump 104 --notes-template '${notes}' --mode snapshot`;

interface FakeTask {
  startSeconds: number;
  log: readonly string[];
  exit?: string;
}

function fakeTasks(script: readonly FakeTask[]) {
  const since: (number | undefined)[] = [];
  const items = script.map(
    ({ startSeconds, exit }, at): TaskListItem => ({
      upid: formatUpid({
        node: 'a',
        pid: at + 1,
        pstart: 1,
        startSeconds,
        type: 'vzdump',
        id: '104',
        user: 'root@pam',
      }),
      type: 'vzdump',
      vmid,
      user: 'root@pam',
      startSeconds,
      endSeconds: exit === undefined ? null : startSeconds + 1,
      end: exit === undefined ? null : readTaskEnd(exit),
    }),
  );
  const tasks: LostStartPorts['tasks'] = {
    list: async (filter) => {
      since.push(filter?.sinceSeconds);
      return items;
    },
    log: async (upid) =>
      (script[items.findIndex((item) => item.upid === upid)]?.log ?? []).map((text, at) => ({ n: at + 1, text })),
  };
  return { tasks, since, upid: (at: number) => items[at]?.upid };
}

const question = { mark, vmid, sinceSeconds: 5_000, intentAgeMs: 60_000 };

describe('a start whose answer was lost', () => {
  it('is found by its mark, running and ended, also behind a wait for the lock', async () => {
    const other = { startSeconds: 5_001, log: [command(markOf('j8'))] };
    const running = fakeTasks([
      other,
      {
        startSeconds: 5_002,
        log: ['INFO: trying to get global lock - waiting...', 'INFO: got global lock', command(mark)],
      },
    ]);
    expect(await findLostStart(running.tasks, question)).toEqual({
      kind: 'found',
      upid: running.upid(1),
      ended: false,
    });
    const ended = fakeTasks([{ startSeconds: 5_002, log: [command(mark)], exit: 'job errors' }, other]);
    expect(await findLostStart(ended.tasks, question)).toEqual({ kind: 'found', upid: ended.upid(0), ended: true });
  });

  it('is looked for with a margin: the clocks of two machines differ', async () => {
    const { tasks, since } = fakeTasks([]);
    await findLostStart(tasks, question);
    expect(since).toEqual([4_940]);
  });

  it('is not concluded from another job of the same guest', async () => {
    const { tasks } = fakeTasks([
      { startSeconds: 5_001, log: [command('{{guestname}}')] },
      { startSeconds: 5_002, log: [command('felhom/1 j77 pending')] },
    ]);
    expect(await findLostStart(tasks, question)).toEqual({ kind: 'not-started' });
  });

  it('is never called "not started" sooner than 35 s after the intent', async () => {
    const { tasks } = fakeTasks([]);
    expect((await findLostStart(tasks, { ...question, intentAgeMs: 34_999 })).kind).toBe('undecided');
    expect((await findLostStart(tasks, { ...question, intentAgeMs: 35_000 })).kind).toBe('not-started');
  });

  it('stays open while a running task has not said what it is', async () => {
    const { tasks } = fakeTasks([{ startSeconds: 5_001, log: ['INFO: trying to get global lock - waiting...'] }]);
    expect((await findLostStart(tasks, question)).kind).toBe('undecided');
  });

  it('was not, when the only candidate lost the race for the lock', async () => {
    const { tasks } = fakeTasks([
      {
        startSeconds: 5_001,
        log: ["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"],
        exit: 'unexpected status',
      },
    ]);
    expect((await findLostStart(tasks, question)).kind).toBe('not-started');
  });

  it('stays open while PVE does not answer', async () => {
    const silent = new PveError({
      fault: { kind: 'transport', outcome: 'unknown' },
      call: 'GET tasks',
      text: 'no answer within 5 s',
    });
    const tasks: LostStartPorts['tasks'] = { list: () => Promise.reject(silent), log: () => Promise.reject(silent) };
    expect(await findLostStart(tasks, question)).toEqual({ kind: 'undecided', why: 'GET tasks: no answer within 5 s' });
  });

  it('is asked for until 35 s have passed, and no longer than allowed', async () => {
    let nowMs = 0;
    const sleep: Clock['sleep'] = async (ms) => {
      nowMs += ms;
    };
    const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep };
    const { tasks } = fakeTasks([]);
    expect((await resolveLostStart({ tasks, clock }, { ...question, intentAgeMs: 5_000 })).kind).toBe('not-started');
    expect(nowMs).toBe(30_000);
    nowMs = 0;
    expect(
      (await resolveLostStart({ tasks, clock }, { ...question, intentAgeMs: 0 }, { giveUpAfterMs: 10_000 })).kind,
    ).toBe('undecided');
    expect(nowMs).toBe(10_000);
  });
});

it('a mark counts as a whole', () => {
  expect(carriesMark(command(mark), mark)).toBe(true);
  expect(carriesMark(`vzdump 104 --notes-template '${mark}\\nmore'`, mark)).toBe(true);
  expect(carriesMark(`vzdump 104 --notes-template 'x${mark}'`, mark)).toBe(false);
  expect(carriesMark(`vzdump 104 --notes-template '${mark}2'`, mark)).toBe(false);
});
