import { expect, it } from 'vitest';
import { findGuest, hashToken, newToken } from './auth.ts';

const [one, two] = [newToken(), newToken()];
const known = [
  { vmid: 101, sha256: hashToken(one) },
  { vmid: 102, sha256: hashToken(two) },
];

it('finds the guest whose token it is', () => {
  expect(findGuest(`Bearer ${two}`, known)).toBe(102);
});

it.each([
  undefined,
  '',
  'Bearer ',
  `Basic ${one}`,
  `Bearer ${one}x`,
  `bearer ${one}`,
  `Bearer ${hashToken(one)}`,
  `Bearer ${one} ${two}`,
])('finds nobody for %j', (header) => {
  expect(findGuest(header, known)).toBeNull();
});

it('does not take the hash of nothing for a token', () => {
  expect(findGuest('Bearer', [{ vmid: 101, sha256: hashToken('') }])).toBeNull();
});

it('makes tokens that differ and are long', () => {
  expect(one).not.toBe(two);
  expect(one.length).toBeGreaterThan(40);
});
