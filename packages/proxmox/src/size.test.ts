import { expect, it } from 'vitest';
import { parseSize } from './size.ts';

it.each([
  ['29MB', 29 * 1024 ** 2],
  ['5.5GB', 5.5 * 1024 ** 3],
  ['1.25 GiB', 1.25 * 1024 ** 3],
  ['400 B', 400],
  ['512 bytes', 512],
  ['0', 0],
  ['2.02M', Math.round(2.02 * 1024 ** 2)],
  ['much', null],
  ['', null],
  ['1.2.3 GiB', null],
])('%j is %j bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});
