import { expect, it } from 'vitest';
import { describeAction } from './describe-action.ts';
import type { FieldChange } from './model.ts';

const described = (to: string): string => {
  const change: FieldChange = {
    field: 'description',
    from: null,
    to,
    write: { set: ['description', to] },
    effect: 'live',
  };
  return describeAction({ kind: 'configure', vmid: 101, guestKind: 'lxc', digest: 'd', changes: [change] });
};

it('a text is told in its own quotes, on one line, and cut where it is long', () => {
  expect(described('hello')).toBe('description none -> "hello"');
  expect(described('two\nlines')).not.toContain('\n');
  expect(described('x'.repeat(9_000)).length).toBeLessThan(100);
});
