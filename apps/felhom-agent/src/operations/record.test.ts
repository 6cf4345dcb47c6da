import { describe, expect, it } from 'vitest';
import { admit } from './check.ts';
import { formatMoment, type Payload } from './payload.ts';
import { mostRemembered, newOperation, type Operation, type OperationsFile, pruned, withHighWater } from './record.ts';

const day = 86_400_000;
const nowMs = Date.UTC(2026, 10, 24, 22, 0, 0);
const agent = 'ab'.repeat(16);

function payloadOf(n: number, expiresMs = nowMs + day): Payload {
  return {
    operation: 'backup-delete',
    agent,
    vmid: 101,
    nonce: n.toString(16).padStart(32, '0'),
    not_before: formatMoment(expiresMs - day),
    expires: formatMoment(expiresMs),
    idempotency_key: `key-${n}`,
    target: { volid: `bk:backup/${n}.tar`, size_bytes: 1 },
  };
}

function operationOf(n: number, expiresMs?: number, outcome: Operation['outcome'] = 'done'): Operation {
  const at = new Date(nowMs).toISOString();
  const made = newOperation(payloadOf(n, expiresMs), { id: `op-${n}`, keyIds: ['k'], at, restoreStorage: null });
  return { ...made, outcome };
}

const fileOf = (operations: Operation[], highWaterMs = nowMs): OperationsFile => ({
  agent_id: agent,
  high_water_ms: highWaterMs,
  operations,
});
const many = (count: number, make: (n: number) => Operation): Operation[] =>
  Array.from({ length: count }, (_, at) => make(at + 1));

describe('what is remembered of operations', () => {
  it('is every one whose envelope has not expired, however many there are', () => {
    const operations = many(900, (n) => operationOf(n));
    expect(pruned(fileOf(operations)).operations).toHaveLength(900);
  });

  it('is the newest that have expired, for a while, and every one that is open', () => {
    const expired = many(300, (n) => operationOf(n, nowMs - day));
    const ancient = operationOf(901, nowMs - 31 * day);
    const open = operationOf(902, nowMs - 90 * day, null);
    const kept = pruned(fileOf([ancient, open, ...expired])).operations.map(({ id }) => id);
    expect(kept).toHaveLength(201);
    expect(kept).toContain('op-902');
    expect(kept).toContain('op-300');
    expect(kept).not.toContain('op-901');
    expect(kept).not.toContain('op-1');
  });

  it('is judged by the latest time ever acted on, not by a clock that runs behind it', () => {
    const file = fileOf([operationOf(1, nowMs + 1_000)], nowMs);
    expect(pruned(withHighWater(file, nowMs - 40 * day)).operations).toHaveLength(1);
    expect(withHighWater(file, nowMs - 1).high_water_ms).toBe(nowMs);
  });

  it('has an end: envelopes that do not expire for long are not taken without number', () => {
    const file = fileOf(many(mostRemembered, (n) => operationOf(n)));
    expect(admit(payloadOf(5_000), file, nowMs)).toMatchObject({ refusal: { reason: 'too_many' } });
    const expired = fileOf(many(mostRemembered, (n) => operationOf(n, nowMs - day)));
    expect(admit(payloadOf(5_000), expired, nowMs)).toEqual({ kind: 'admitted' });
  });
});
