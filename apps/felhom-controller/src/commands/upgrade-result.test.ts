import { describe, expect, it } from 'vitest';
import { rolledBack } from '../upgrade/settle-upgrade.ts';
import { emptyResult, resultText } from './upgrade-result.ts';

const gate = (name: string, state: 'open' | 'closed' | 'forced') => ({ name, state, soft: true, why: 'why' });
const title = (result: Partial<ReturnType<typeof emptyResult>>): string =>
  resultText({ ...emptyResult('shop'), ...result }).split('\n')[0] ?? '';

describe('what is told of an upgrade', () => {
  it('is no more than is so', () => {
    expect(title({ outcome: 'planned', gates: [gate('space', 'open')] })).toBe('shop: can be upgraded');
    expect(title({ outcome: 'planned', gates: [gate('space', 'closed')] })).toContain('something in the way');
    expect(title({ outcome: 'rolled_back' })).toContain('with its data as it was');
    const forced = [gate('snapshot_possible', 'forced')];
    expect(title({ outcome: 'rolled_back', gates: forced })).not.toContain('as it was');
  });

  it('says of a rollback whose data nobody had kept that it runs on what the new version left', () => {
    const told = (data: 'snapshot' | 'none'): string =>
      rolledBack({ stack: 'shop', data }, { recovered: true }, '').message;
    expect(told('snapshot')).toContain('healthy, with its data as it was');
    expect(told('none')).not.toContain('as it was');
    expect(told('none')).toContain('none was kept');
  });
});
