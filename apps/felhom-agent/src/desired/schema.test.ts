import { describe, expect, it } from 'vitest';
import { desiredSchema } from './schema.ts';

const mistakeOf = (desired: Record<string, unknown>): string => {
  const parsed = desiredSchema.safeParse(desired);
  if (parsed.success) throw new Error(`${JSON.stringify(desired)} is taken`);
  return parsed.error.issues.map((issue) => issue.message).join('; ');
};

describe('desired', () => {
  it('becomes what PVE would be given', () => {
    expect(
      desiredSchema.parse({
        state: 'running',
        cores: 4,
        memory: '2GiB',
        swap: 0,
        hostname: 'web-1.example.org',
        description: 'two\nlines\n',
        tags: ['b', 'A'],
        onboot: true,
        startup: { up: '30s', order: 2, down: '1m' },
        protection: false,
        cpulimit: 1.5,
        cpuunits: 200,
      }),
    ).toEqual({
      state: 'running',
      cores: '4',
      memory: '2048',
      swap: '0',
      hostname: 'web-1.example.org',
      description: 'two\nlines\n',
      tags: 'b;A',
      onboot: '1',
      startup: 'order=2,up=30,down=60',
      protection: '0',
      cpulimit: '1.5',
      cpuunits: '200',
    });
    expect(desiredSchema.parse({ cores: 'all', tags: [], startup: {}, swap: '512MiB' })).toEqual({
      cores: 'all',
      tags: null,
      startup: null,
      swap: '512',
    });
    expect(desiredSchema.parse({})).toEqual({});
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['an unknown state', { state: 'paused' }, 'Invalid option: expected one of "running"|"stopped"'],
    ['no cores', { cores: 0 }, 'expected a whole number from 1 to 8192'],
    ['too many cores', { cores: 8193 }, 'expected a whole number from 1 to 8192'],
    ['half a core', { cores: 1.5 }, 'expected a whole number from 1 to 8192, or all'],
    ['cores as text', { cores: '4' }, 'expected a whole number from 1 to 8192, or all'],
    ['memory without a unit', { memory: 2048 }, 'expected a size such as 512MiB or 2GiB'],
    ['memory in words', { memory: 'much' }, 'expected a size such as 512MiB or 2GiB'],
    ['negative memory', { memory: '-1GiB' }, 'expected a size such as 512MiB or 2GiB'],
    ['too little memory', { memory: '15MiB' }, 'expected whole MiB, from 16 MiB to 16 TiB'],
    ['too much memory', { memory: '17TiB' }, 'expected whole MiB, from 16 MiB to 16 TiB'],
    ['memory in odd bytes', { memory: '1GB' }, 'expected whole MiB, from 16 MiB to 16 TiB'],
    ['negative swap', { swap: -1 }, 'expected a size in whole MiB such as 512MiB, 16 TiB at most, or 0'],
    ['swap in odd bytes', { swap: '1000kB' }, 'expected a size in whole MiB such as 512MiB, 16 TiB at most, or 0'],
    ['a hostname with a blank', { hostname: 'a b' }, 'expected a DNS name: letters, digits, hyphens and dots'],
    ['a hostname with an underscore', { hostname: 'a_b' }, 'expected a DNS name: letters, digits, hyphens and dots'],
    ['an empty hostname', { hostname: '' }, 'expected a DNS name: letters, digits, hyphens and dots'],
    [
      'a hostname with a hyphen at its end',
      { hostname: 'a-' },
      'expected a DNS name: letters, digits, hyphens and dots',
    ],
    ['a hostname with a line end', { hostname: 'a\n' }, 'expected a DNS name: letters, digits, hyphens and dots'],
    ['a long hostname', { hostname: 'a'.repeat(256) }, 'expected 255 characters at most'],
    ['a long description', { description: 'é'.repeat(8193) }, 'expected 8192 characters at most'],
    [
      'a description with NUL',
      { description: 'a\u0000' },
      'expected text without NUL and without halves of characters',
    ],
    ['half a character', { description: '\ud83d' }, 'expected text without NUL and without halves of characters'],
    ['a description that is a list', { description: ['a'] }, 'expected text'],
    ['tags as text', { tags: 'a;b' }, 'expected a list of tags'],
    ['a tag with a blank', { tags: ['a b'] }, 'expected a tag: letters, digits and _ - + . only'],
    ['a tag with a separator', { tags: ['a;b'] }, 'expected a tag: letters, digits and _ - + . only'],
    ['an empty tag', { tags: [''] }, 'expected a tag: letters, digits and _ - + . only'],
    ['onboot as a word', { onboot: 'yes' }, 'expected true or false'],
    ['onboot as a number', { onboot: 1 }, 'expected true or false'],
    ['startup as text', { startup: '2' }, 'Invalid input: expected object, received string'],
    ['a negative order', { startup: { order: -1 } }, 'expected a whole number from 0 to 999999999'],
    ['a delay of half a second', { startup: { up: '500ms' } }, 'expected whole seconds, such as 30s or 2m'],
    ['a delay without a unit', { startup: { up: '30' } }, 'expected whole seconds, such as 30s or 2m'],
    ['a negative limit', { cpulimit: -1 }, 'expected a number from 0.01 to 8192, or 0'],
    ['a limit that starves', { cpulimit: 0.001 }, 'expected a number from 0.01 to 8192, or 0'],
    ['a limit beyond any host', { cpulimit: 8193 }, 'expected a number from 0.01 to 8192, or 0'],
    ['a limit as fine as dust', { cpulimit: 1.0001 }, 'expected three decimals at most'],
    ['no limit at all', { cpulimit: Number.NaN }, 'expected a number from 0.01 to 8192, or 0'],
    ['a negative weight', { cpuunits: -1 }, 'expected a whole number from 0 to 500000'],
    ['a weight beyond PVE', { cpuunits: 500_001 }, 'expected a whole number from 0 to 500000'],
    ['an unknown key', { rootfs: 'local:8' }, 'Unrecognized key: "rootfs"'],
  ])('does not take %s', (_, desired, message) => {
    expect(mistakeOf(desired)).toBe(message);
  });

  it('takes 8192 characters of any script', () => {
    expect(desiredSchema.parse({ description: '🚀'.repeat(8192) }).description).toHaveLength(2 * 8192);
  });
});
