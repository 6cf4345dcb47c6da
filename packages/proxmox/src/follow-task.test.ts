import type { Clock } from '@felhom/kernel/clock.ts';
import { describe, expect, it } from 'vitest';
import { PveError, type PveFault } from './errors.ts';
import { type FollowOptions, type FollowPorts, followTask } from './follow-task.ts';
import { type LogLine, readTaskEnd, type TaskStatus } from './tasks.ts';
import { formatUpid, parseVmid } from './upid.ts';

const upid = formatUpid({ node: 'a', pid: 1, pstart: 2, startSeconds: 3, type: 'vzdump', id: '104', user: 'root@pam' });

/** Time that passes only while somebody sleeps. */
function fakeClock(onSleep: (nowMs: number) => void = () => undefined): Clock {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms;
      onSleep(nowMs);
    },
  };
}

/** A task whose lines and end come at given times, in milliseconds. */
function fakeTask(clock: Clock, script: { lines: readonly (readonly [number, string])[]; end?: [number, string] }) {
  const calls: string[] = [];
  let failures: PveFault[] = [];
  const failNow = (): void => {
    const fault = failures.shift();
    if (fault !== undefined)
      throw new PveError({
        fault,
        call: 'GET task',
        text: 'did not work',
        status: fault.kind === 'not-found' ? 400 : null,
      });
  };
  const tasks: FollowPorts['tasks'] = {
    log: async (_, { from = 1, limit = 500 } = {}) => {
      calls.push(`log ${from}`);
      failNow();
      const written = script.lines
        .filter(([atMs]) => atMs <= clock.monotonicMs())
        .map(([, text], at): LogLine => ({ n: at + 1, text }));
      return written.slice(from - 1, from - 1 + limit);
    },
    status: async (): Promise<TaskStatus> => {
      calls.push('status');
      failNow();
      const ended = script.end !== undefined && script.end[0] <= clock.monotonicMs();
      const end = ended ? readTaskEnd(script.end?.[1] ?? '') : null;
      return { upid, type: 'vzdump', vmid: parseVmid(104), user: 'root@pam', startSeconds: 3, end };
    },
  };
  const fail = (...faults: PveFault[]): void => {
    failures = faults;
  };
  return { tasks, calls, fail };
}

async function follow(script: Parameters<typeof fakeTask>[1], options: FollowOptions = {}, faults: PveFault[] = []) {
  const clock = fakeClock();
  const task = fakeTask(clock, script);
  task.fail(...faults);
  const lines: string[] = [];
  const failed: string[] = [];
  const end = await followTask({ tasks: task.tasks, clock }, upid, {
    onLines: (more) => void lines.push(...more.map(({ n, text }) => `${n} ${text}`)),
    onPollFailed: (error) => void failed.push(error.fault.kind),
    ...options,
  });
  return { end, lines, failed, calls: task.calls, endedAtMs: clock.monotonicMs() };
}

describe('following a task', () => {
  it('hands on every line once, in order, asking only for the next unread one', async () => {
    const { end, lines, calls } = await follow({
      lines: [
        [0, 'one'],
        [100, 'two'],
        [100, 'three'],
        [5_000, 'four'],
        [5_100, 'TASK OK'],
      ],
      end: [5_150, 'OK'],
    });
    expect(end).toEqual({ kind: 'ended', end: { kind: 'ok', warnings: 0 }, reason: null });
    expect(lines).toEqual(['1 one', '2 two', '3 three', '4 four', '5 TASK OK']);
    const starts = calls.filter((call) => call.startsWith('log')).map((call) => Number(call.slice(4)));
    expect(starts).toEqual(starts.toSorted((a, b) => a - b));
  });

  it('sees a line of the first second within 40 ms', async () => {
    const seenAtMs: number[] = [];
    const clock = fakeClock();
    const task = fakeTask(clock, {
      lines: [
        [0, 'a'],
        [237, 'proof'],
        [900, 'b'],
      ],
      end: [1_000, 'OK'],
    });
    await followTask({ tasks: task.tasks, clock }, upid, { onLines: () => void seenAtMs.push(clock.monotonicMs()) });
    expect(seenAtMs).toEqual([0, 240, 920]);
  });

  it('takes warnings for a success', async () => {
    const { end } = await follow({ lines: [[0, 'TASK WARNINGS: 2']], end: [10, 'WARNINGS: 2'] });
    expect(end).toMatchObject({ end: { kind: 'ok', warnings: 2 }, reason: null });
  });

  it('finds the reason of "job errors" in the log', async () => {
    const { end } = await follow({
      lines: [
        [0, 'INFO: Starting Backup of VM 104 (lxc)'],
        [0, 'ERROR: Backup of VM 104 failed - no space'],
        [0, 'TASK ERROR: job errors'],
      ],
      end: [10, 'job errors'],
    });
    expect(end).toMatchObject({
      end: { kind: 'failed', reason: 'job errors' },
      reason: 'Backup of VM 104 failed - no space',
    });
  });

  it('ends with a worker that died without a last line', async () => {
    const { end, endedAtMs } = await follow({ lines: [[0, 'INFO: restarting vm']], end: [3_000, 'unexpected status'] });
    expect(end).toMatchObject({ end: { kind: 'failed', died: true }, reason: 'unexpected status' });
    expect(endedAtMs).toBeLessThan(6_500);
  });

  it('does not take text of a hook for the end of the task', async () => {
    const { lines } = await follow({
      lines: [
        [0, 'TASK OK'],
        [4_000, 'more'],
        [8_000, 'TASK OK'],
      ],
      end: [8_000, 'OK'],
    });
    expect(lines).toEqual(['1 TASK OK', '2 more', '3 TASK OK']);
  });

  it('hands on the lines written between its last look and the end', async () => {
    const clock = fakeClock();
    const task = fakeTask(clock, { lines: [[0, 'one']] });
    const late: LogLine[] = [
      { n: 1, text: 'one' },
      { n: 2, text: 'TASK OK' },
      { n: 3, text: 'after' },
    ];
    let statusAsked = false;
    const lines: number[] = [];
    await followTask(
      {
        clock,
        tasks: {
          log: async (_, { from = 1 } = {}) => late.slice(from - 1, statusAsked ? 3 : 2),
          status: async (...args) => {
            statusAsked = true;
            return { ...(await task.tasks.status(...args)), end: readTaskEnd('OK') };
          },
        },
      },
      upid,
      { onLines: (more) => void lines.push(...more.map(({ n }) => n)) },
    );
    expect(lines).toEqual([1, 2, 3]);
  });

  it('takes a failed poll for unknown and goes on, whatever failed', async () => {
    const { end, lines, failed } = await follow(
      {
        lines: [
          [0, 'one'],
          [2_000, 'TASK OK'],
        ],
        end: [2_000, 'OK'],
      },
      {},
      [
        { kind: 'transport', outcome: 'unknown' },
        { kind: 'misbehaves' },
        { kind: 'auth' },
        { kind: 'failed' },
        { kind: 'not-found' },
      ],
    );
    expect(end.kind).toBe('ended');
    expect(lines).toEqual(['1 one', '2 TASK OK']);
    expect(failed).toEqual(['transport', 'misbehaves', 'auth', 'failed', 'not-found']);
  });

  it('loses no line when the status fails after the log was read', async () => {
    const { lines } = await follow(
      {
        lines: [
          [0, 'one'],
          [0, 'TASK OK'],
        ],
        end: [200, 'OK'],
      },
      {},
      [],
    );
    expect(lines).toEqual(['1 one', '2 TASK OK']);
  });

  it('believes that there is no such task only when it is said again and again', async () => {
    const missing = { kind: 'not-found' } as const;
    const script = {
      lines: [[0, 'unable to open file - No such file or directory']] as const,
      end: [0, 'OK'] as [number, string],
    };
    expect((await follow(script, {}, [missing, missing, missing])).end).toEqual({ kind: 'no-such-task' });
    const { lines } = await follow(script, {}, [missing, missing]);
    expect(lines).toEqual([]);
  });

  it('goes on from a given line', async () => {
    const { lines } = await follow(
      {
        lines: [
          [0, 'one'],
          [0, 'two'],
          [0, 'TASK OK'],
        ],
        end: [0, 'OK'],
      },
      { fromLine: 3 },
    );
    expect(lines).toEqual(['3 TASK OK']);
  });

  it('ends its own part when asked to', async () => {
    const stop = new AbortController();
    const clock = fakeClock((nowMs) => nowMs > 500 && stop.abort());
    const task = fakeTask(clock, { lines: [[0, 'one']] });
    expect(await followTask({ tasks: task.tasks, clock }, upid, { signal: stop.signal })).toEqual({ kind: 'aborted' });
  });

  it('lets an error of the caller through', async () => {
    const broken = follow(
      { lines: [[0, 'one']], end: [0, 'OK'] },
      { onLines: () => Promise.reject(new Error('disk full')) },
    );
    await expect(broken).rejects.toThrow('disk full');
  });
});
