import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { asFailure, Failure, type FailureCode, failures, worstExit } from './failure.ts';
import { forgetSecrets, registerSecret } from './redact.ts';

afterEach(forgetSecrets);

const codes = Object.keys(failures) as FailureCode[];

describe('the table of failures', () => {
  test('uses the exit codes that are documented, and no other', () => {
    const documented = new Set([1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 20, 130, 143]);
    expect(codes.filter((code) => !documented.has(failures[code].exit))).toEqual([]);
    expect(new Set(codes.map((code) => failures[code].exit))).toEqual(documented);
  });

  test('keeps 20 for apps that are down, and 1 for our own defects', () => {
    expect(codes.filter((code) => failures[code].exit === 20)).toEqual(['apps_down']);
    expect(codes.filter((code) => failures[code].exit === 1)).toEqual(['bug']);
  });

  test('names its rows as words that scripts can compare', () => {
    for (const code of codes) expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
  });
});

describe('a failure', () => {
  test('carries its code, what happened, what to type next, and its row', () => {
    const failure = new Failure('busy', { message: 'a run is under way', hint: 'Wait.' });
    expect(failure).toMatchObject({
      code: 'busy',
      message: 'a run is under way',
      hint: 'Wait.',
      exit: 11,
      retry: true,
    });
    expect(failure).toBeInstanceOf(Error);
  });

  test('is code, message and hint on the wire, and never its cause', () => {
    const failure = new Failure('bug', { message: 'm', hint: 'h', cause: new Error('inner') });
    expect(JSON.parse(JSON.stringify(failure))).toEqual({ code: 'bug', message: 'm', hint: 'h' });
    expect(failure.cause).toBeInstanceOf(Error);
  });

  test('tells machines its finer reason where it has one', () => {
    const failure = new Failure('policy_refused', { message: 'm', hint: 'h', reason: 'expired' });
    expect(JSON.parse(JSON.stringify(failure))).toEqual({
      code: 'policy_refused',
      reason: 'expired',
      message: 'm',
      hint: 'h',
    });
  });

  test('without a cause has none', () => {
    expect('cause' in new Failure('bug', { message: 'm', hint: 'h' })).toBe(false);
  });

  test('shows no secret: in message, hint, stack, or what Node prints of it with its cause', () => {
    registerSecret('s3cr3t-value');
    const cause = new Error('refused s3cr3t-value');
    const failure = new Failure('refused', { message: 'the token s3cr3t-value', hint: 'drop s3cr3t-value', cause });
    const printed = [
      failure.message,
      failure.hint,
      failure.stack,
      inspect(failure),
      inspect({ failure }, { depth: 9 }),
    ];
    for (const text of printed) {
      expect(text).toContain('[redacted]');
      expect(text).not.toContain('s3cr3t');
    }
    expect(inspect(failure)).toContain('cause');
  });
});

describe('anything thrown', () => {
  test('that is a failure stays the one it is', () => {
    const failure = new Failure('busy', { message: 'm', hint: 'h' });
    expect(asFailure(failure)).toBe(failure);
  });

  test.each([[new TypeError('x is not a function')], ['x is not a function']])(
    'else is a bug of ours: %s',
    (thrown) => {
      const failure = asFailure(thrown);
      expect(failure).toMatchObject({ code: 'bug', message: 'internal error: x is not a function', cause: thrown });
      expect(failure.hint).toContain('report');
    },
  );
});

describe('the exit code of several', () => {
  test.each([
    [[], 0],
    [[0, 0], 0],
    [[0, 5], 5],
    [[5, 3, 0], 3],
    [[3, 11], 3],
    [[11, 3], 11],
    [[3, 143, 130], 130],
    [[143, 3], 143],
    [[130, 20, 3], 20],
  ])('%j is %d', (several, exit) => {
    expect(worstExit(several)).toBe(exit);
  });
});
