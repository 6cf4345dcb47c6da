import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseConfig, readConfigText } from './config-file.ts';

const schema = z.strictObject({ name: z.string().optional(), list: z.array(z.unknown()).optional() });
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-config-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function mistakes(text: string, firstLine?: number): Promise<string> {
  const source = { text, file: 'c.yaml', schema, hint: 'see' };
  const failure: unknown = await parseConfig(firstLine === undefined ? source : { ...source, firstLine }).catch(
    (error: unknown) => error,
  );
  if (!(failure instanceof Failure)) throw new Error('expected a Failure');
  expect(failure.code).toBe('config_invalid');
  return failure.message;
}

async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

describe('a configuration that is none', () => {
  it('larger than memory is refused by its size, before it is read', async () => {
    const path = await file('endless.yaml', 'name: a\n');
    await truncate(path, 3 * 2 ** 30);
    await expect(readConfigText(path)).rejects.toThrow(/it is 3 GiB long, and at most 1 MiB are read$/);
  });

  it('of 10 MB is refused', async () => {
    const path = await file('big.yaml', `name: "${'x'.repeat(10_000_000)}"\n`);
    await expect(readConfigText(path)).rejects.toMatchObject({
      code: 'config_invalid',
      message: `${path}: it is 9.5 MiB long, and at most 1 MiB are read`,
    });
  });

  it('that is not text is refused', async () => {
    const path = await file('binary.yaml', Buffer.from([0x6e, 0x3a, 0xff, 0xfe]));
    await expect(readConfigText(path)).rejects.toThrow(/cannot be read: it is not UTF-8 text/);
  });

  it('that unfolds into a bomb is refused', async () => {
    const levels = Array.from({ length: 9 }, (_, level) => {
      const before = level === 0 ? '"lol"' : `*a${level - 1}`;
      return `a${level}: &a${level} [${Array(9).fill(before).join(',')}]`;
    });
    expect(await mistakes(`${levels.join('\n')}\n`)).toBe(
      'c.yaml: it cannot be taken apart: Excessive alias count indicates a resource exhaustion attack',
    );
  });

  it('that is nested deeper than any stack is refused', async () => {
    expect(await mistakes(`list: ${'['.repeat(100_000)}\n`)).toMatch(
      /^\d mistakes in the configuration\nc\.yaml:1:\d+: it is nested too deep to be a configuration\n/,
    );
  });

  it('of a mapping as long as a file may be is refused in a moment, and of its mistakes the first are told', async () => {
    const keys = Array.from({ length: 60_000 }, (_, index) => `k${index}: 1`).join('\n');
    const began = performance.now();
    const told = await mistakes(keys);
    // Comparing every key with every other would take minutes; this takes a second or two on a busy machine.
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(told).toMatch(/^more than 20 mistakes in the configuration\nc\.yaml:1:1: k0: unknown key/);
    expect(told.split('\n')).toHaveLength(21);
  });
});

describe('a key that stands twice', () => {
  it('is named where it stands the second time', async () => {
    expect(await mistakes('name: a\nlist: []\nname: b\n')).toBe('c.yaml:3:1: name: it stands here twice');
    expect(await mistakes('list:\n  - { x: 1, x: 2 }\n')).toBe('c.yaml:2:13: x: it stands here twice');
  });
});

describe('a part of a file', () => {
  it('has its mistakes named by the line of the file', async () => {
    expect(await mistakes('nme: a\n', 41)).toBe('c.yaml:41:1: nme: unknown key, did you mean name?');
  });
});
