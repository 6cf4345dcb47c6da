import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { readStrictJson } from './strict-json.ts';

const read = (text: string) => readStrictJson(Buffer.from(text));

test('reads what JSON.stringify writes, whatever it is', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const text = JSON.stringify(value);
      fc.pre(!text.includes('__proto__'));
      expect(read(text)).toEqual({ kind: 'value', value: JSON.parse(text) });
    }),
  );
});

test.each([
  ['at the top', '{"a":1,"a":2}'],
  ['deep inside', '{"x":[{"y":{"a":1,"b":2,"a":3}}]}'],
  ['written with an escape', '{"a":1,"\\u0061":2}'],
  ['with other keys and strings between', '{"a":"}{","b":["a",":"],"a":null}'],
  ['after a string that ends in a backslash', '{"b":"\\\\","a":1,"a":1}'],
])('refuses a key that stands twice %s', (_, text) => {
  expect(read(text)).toMatchObject({ kind: 'refused', reason: 'duplicate_key' });
});

test('takes equal keys in different objects, and values that equal a key', () => {
  expect(read('{"a":{"a":"a"},"b":[{"a":1},{"a":1}]}').kind).toBe('value');
});

test('steps over texts of many MiB, and still sees the key behind them', () => {
  const long = 'x\\"}'.repeat(3 * 2 ** 20);
  expect(read(`{"a":"${long}","b":1}`).kind).toBe('value');
  expect(read(`{"a":"${long}","a":1}`)).toMatchObject({ kind: 'refused', reason: 'duplicate_key' });
});

test.each([
  ['{"__proto__":1}', 'duplicate_key'],
  ['{"a":1', 'not_json'],
  ['', 'not_json'],
  ['{"a":1} {"b":2}', 'not_json'],
  ['\ufeff{"a":1}', 'not_json'],
  ['{"a":NaN}', 'not_json'],
  ["{'a':1}", 'not_json'],
  [`${'['.repeat(17)}${']'.repeat(17)}`, 'too_deep'],
])('refuses %s as %s', (text, reason) => {
  expect(read(text)).toMatchObject({ kind: 'refused', reason });
});

test('quotes nothing of a text that is not JSON: it may be a secret, or move a cursor', () => {
  for (const text of ['hunter2secret', '{"a":hunter2secret}', '\u001b]0;x\u0007'])
    expect(read(text)).toEqual({ kind: 'refused', reason: 'not_json', detail: 'its text is not JSON' });
});

test('refuses bytes that are not UTF-8', () => {
  expect(readStrictJson(Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({ kind: 'refused', reason: 'not_utf8' });
});
