import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { classifyAnswer } from './classify.ts';
import type { PveFaultKind } from './errors.ts';
import { readRecordings, recordingsFolder } from './fixtures/recordings.ts';
import { type LogLine, readTaskEnd } from './tasks.ts';
import { tryParseUpid } from './upid.ts';
import { emptyVzdumpLog, readVzdumpLog, type VzdumpLog } from './vzdump-log.ts';

const errorBody = z.object({ message: z.string().optional(), errors: z.record(z.string(), z.string()).optional() });
const logBody = z.object({ data: z.array(z.object({ n: z.number(), t: z.string() })), total: z.number() });
const statusBody = z.object({
  data: z.object({ upid: z.string(), status: z.string(), exitstatus: z.string().optional() }),
});

const parse = <T>(schema: z.ZodType<T>, text: string): T | null => {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    // Some recorded bodies are no JSON on purpose: empty ones and a compressed download.
    return null;
  }
};

const recordings = readRecordings();

/** The kinds that the recorded errors must have; everything else must at least not be `misbehaves`. */
const kinds: readonly (readonly [RegExp, PveFaultKind])[] = [
  [/^auth-(?!version)/, 'auth'],
  [/^(?:perm-.*403|task-.*-403|config-put-bind-mount-token|vzdump-prune-by-limited-token)/, 'permission'],
  [/^(?:locked-config-put|config-put-during-snapshot-backup|config-delete-lock-by-token)$/, 'locked'],
  [/^config-put-digest-stale$/, 'stale-digest'],
  [/^daemon-down-(?!config-get)/, 'transport'],
  [/^(?:start-already-running|proto-post-json-braces|proto-post-no-length)$/, 'already-running'],
  [
    /^(?:stop-already-stopped|shutdown-already-stopped|locked-stop-when-stopped|unknown-vmid-(?:stop|shutdown))$/,
    'not-running',
  ],
  [/^(?:unknown-vmid-status-current|proto-json-error|qemu-config-of-lxc-vmid|content-unknown-storage)$/, 'not-found'],
  [/^(?:task-status-unknown-upid|unknown-node|task-status-wrong-node)$/, 'not-found'],
  [
    /^(?:invalid-|desc-long-8193-put|vzdump-(?:unknown-param|bad-prune|script-by-token)|qemu-config-post-invalid)/,
    'parameter',
  ],
  [/^(?:unknown-path|unimplemented-method|config-post-lxc|proto-post-chunked|proto-root-noformat)$/, 'not-implemented'],
];

it('recordings are read where they are', () => {
  expect(recordings.length > 0).toBe(existsSync(recordingsFolder));
});

it.each(recordings.filter(({ status }) => status >= 400))(
  'the recorded error $name is told apart',
  ({ name, status, reason, contentType, body }) => {
    const said = parse(errorBody, body) ?? {};
    const { fault, text } = classifyAnswer({ status, reason, contentType, ...said, bodyIsHtml: body.startsWith('<') });
    const expected = kinds.find(([pattern]) => pattern.test(name))?.[1] ?? fault.kind;
    expect(fault.kind).toBe(expected);
    expect(fault.kind).not.toBe('misbehaves');
    expect(text).not.toMatch(/^\s*$|\n/);
  },
);

/** A recorded log with the status of its task, where that was recorded too. */
const logs = recordings.flatMap(({ name, status, body }) => {
  const log = status === 200 && /task[.-]log/.test(name) ? parse(logBody, body) : null;
  if (log === null) return [];
  const lines = log.data.map(({ n, t }): LogLine => ({ n, text: t }));
  const task = name.includes('.task.log')
    ? recordings.find((other) => other.name === name.replace('.log', '.status'))
    : undefined;
  return [{ name, lines, exit: parse(statusBody, task?.body ?? '')?.data ?? null }];
});

it.each(logs)('the recorded log $name is read to its end, however it is cut', ({ lines, exit }) => {
  const log = readVzdumpLog(emptyVzdumpLog, lines);
  expect(lines.reduce<VzdumpLog>((state, line) => readVzdumpLog(state, [line]), emptyVzdumpLog)).toEqual(log);
  expect(log.end !== null).toBe(lines.at(-1)?.text.startsWith('TASK ') ?? false);
  expect(exit === null || tryParseUpid(exit.upid) !== null).toBe(true);
  expect(exit?.exitstatus === undefined ? log.end : endFromStatus(exit.exitstatus)).toEqual(log.end);
});

const guests = logs.flatMap(({ name, lines }) =>
  readVzdumpLog(emptyVzdumpLog, lines).guests.map((guest) => ({ name, vmid: guest.vmid, guest, lines })),
);

it.each(guests)(
  'the recorded log $name proves the snapshot of $vmid exactly where its mode says so',
  ({ guest, lines }) => {
    const { mode, proof, result, volid } = guest;
    const before = lines.filter(({ n }) => n < (proof?.line ?? 0)).map(({ text }) => text);
    const archived = volid !== null && /^\w+:backup\/vzdump-lxc-\d+-[\d_-]+\.tar/.test(volid);
    expect(archived || result?.kind !== 'finished').toBe(true);
    expect(proof !== null).toBe(mode !== 'stop' && archived);
    if (proof !== null) expect(before.some((text) => necessary[mode ?? 'stop'].test(text))).toBe(true);
  },
);

/** What must stand before a proof. */
const necessary = { snapshot: /create storage snapshot/, suspend: /final sync finished/, stop: /never/ } as const;

/** The log's last line that belongs to an exit status. */
function endFromStatus(exitStatus: string): VzdumpLog['end'] {
  const end = readTaskEnd(exitStatus);
  if (end.kind === 'failed') return end.died ? null : { kind: 'error', text: end.reason };
  return end.warnings > 0 ? { kind: 'warnings', count: end.warnings } : { kind: 'ok' };
}
