import { Interruption } from '@felhom/cli/signals.ts';
import { expect, it } from 'vitest';
import { passExitCode } from './exit-code.ts';
import type { PassReport } from './report.ts';

const goesOn = new AbortController().signal;
const pass = (outcome: PassReport['outcome'], deferred = 0): Pick<PassReport, 'outcome' | 'counts'> => ({
  outcome,
  counts: {
    declared: 3,
    planned: 1,
    in_sync: 0,
    applied: 0,
    failed: 0,
    deferred,
    held: 0,
    absent: 0,
    elsewhere: 0,
  },
});

it.each([
  ['in_sync', 0, false, 0],
  ['incomplete', 1, false, 0],
  ['incomplete', 1, true, 4],
  ['failed', 1, true, 3],
  ['refused', 3, true, 13],
] as const)(
  'a pass that ends %s with %s deferred (asked for drift: %s) exits %s',
  (outcome, deferred, detailed, exit) => {
    expect(passExitCode(pass(outcome, deferred), { detailed, stop: goesOn })).toBe(exit);
  },
);

it('one that was asked to end says so, unless everybody had a turn', () => {
  const by = (signal: 'SIGINT' | 'SIGTERM') => AbortSignal.abort(new Interruption(signal));
  expect(passExitCode(pass('incomplete', 1), { detailed: true, stop: by('SIGINT') })).toBe(130);
  expect(passExitCode(pass('failed', 1), { detailed: false, stop: by('SIGTERM') })).toBe(143);
  expect(passExitCode(pass('applied'), { detailed: false, stop: by('SIGTERM') })).toBe(0);
});
