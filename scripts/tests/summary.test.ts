import { describe, expect, it } from 'vitest';
import { summarize } from './summary.ts';

const passed = { name: 'a.test.ts: works', state: 'passed' } as const;
const skipped = {
  name: 'b.test.ts: talks to a real PVE',
  state: 'skipped',
  note: 'FELHOM_PVE_URL is not set',
} as const;
const failed = { name: 'c.test.ts: breaks', state: 'failed' } as const;

describe('the summary', () => {
  it('ends in the counts, checks among them', () => {
    const checks = [{ name: 'types', passed: true }];
    expect(summarize({ checks, tests: [passed, failed], inCi: false }).lines.at(-1)).toBe('2 passed, 1 failed');
  });

  it('names what was skipped and why', () => {
    const { lines, failed: count } = summarize({ checks: [], tests: [passed, skipped], inCi: false });
    expect(lines).toContain('  b.test.ts: talks to a real PVE: FELHOM_PVE_URL is not set');
    expect(count).toBe(0);
  });

  it('counts a skip as a failure in CI', () => {
    expect(summarize({ checks: [], tests: [passed, skipped], inCi: true }).lines.at(-1)).toBe('1 passed, 1 failed');
  });

  it('does not call an empty run a success', () => {
    expect(summarize({ checks: [], tests: [], inCi: false }).failed).toBe(1);
  });
});
