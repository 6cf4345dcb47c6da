import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { redact } from '@felhom/kernel/redact.ts';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseConfig, readConfigText } from './config-file.ts';
import { formatDuration, formatElapsed, parseDuration, parseSize } from './quantity.ts';
import { durationMs, sizeBytes } from './quantity-schema.ts';
import { readSecretFile } from './secret-file.ts';

const schema = z.strictObject({
  state_dir: z.string().default('/var/lib/x'),
  max_quiesce: durationMs('10m'),
  room: sizeBytes('2GiB'),
  agents: z.array(z.strictObject({ url: z.url(), fingerprint: z.string() })).default([]),
  stacks: z.record(z.string(), z.strictObject({ quiesce: z.enum(['stop', 'keep']).default('stop') })).default({}),
});

async function parse(text: string | undefined, overrides: { path: string[]; value: unknown; from: string }[] = []) {
  return await parseConfig({ text, file: 'c.yaml', schema, overrides, hint: 'see: x config schema' });
}

async function mistakes(
  text: string,
  overrides: { path: string[]; value: unknown; from: string }[] = [],
): Promise<string> {
  const failure: unknown = await parse(text, overrides).catch((error: unknown) => error);
  if (!(failure instanceof Failure)) throw new Error('expected a Failure');
  expect(failure.code).toBe('config_invalid');
  return failure.message;
}

describe('a configuration file', () => {
  it('gives every default where there is no file, and where the file is empty', async () => {
    const expected = { state_dir: '/var/lib/x', max_quiesce: 600_000, room: 2 ** 31, agents: [], stacks: {} };
    expect(await parse(undefined)).toEqual(expected);
    expect(await parse('# nothing\n')).toEqual(expected);
  });

  it('names file, line and column of an unknown key, and the nearest known one', async () => {
    expect(await mistakes('state_dir: /a\nmax_quiese: 1m\n')).toBe(
      'c.yaml:2:1: max_quiese: unknown key, did you mean max_quiesce?',
    );
    expect(await mistakes('stacks:\n  nextcloud:\n    quiece: keep\n')).toBe(
      'c.yaml:3:5: stacks.nextcloud.quiece: unknown key, did you mean stacks.nextcloud.quiesce?',
    );
    expect(await mistakes('agents:\n  - url: https://h:1\n    fingerprnt: a\n    fingerprint: b\n')).toBe(
      'c.yaml:3:5: agents.0.fingerprnt: unknown key, did you mean agents.0.fingerprint?',
    );
  });

  it('names the place of a wrong value', async () => {
    expect(await mistakes('max_quiesce: ten\n')).toBe(
      'c.yaml:1:14: max_quiesce: expected a duration such as 30s, 10m or 1d',
    );
    expect(await mistakes('room: 5\n')).toBe('c.yaml:1:7: room: expected a size such as 512MiB or 2GiB');
  });

  it('tells every mistake at once', async () => {
    expect(await mistakes('a: 1\nroom: 5\n')).toMatch(/^2 mistakes in the configuration\nc\.yaml:/);
  });

  it('names the place where YAML ends', async () => {
    expect(await mistakes('state_dir: [1\nx: }\n')).toMatch(/^(\d+ mistakes[^\n]*\n)?c\.yaml:2:\d+: /);
  });

  it('puts a flag before the environment, and the environment before the file', async () => {
    const environment = { path: ['state_dir'], value: '/from-env', from: 'FELHOM_STATE_DIR' };
    const flag = { path: ['state_dir'], value: '/from-flag', from: '--state-dir' };
    expect((await parse('state_dir: /from-file\n')).state_dir).toBe('/from-file');
    expect((await parse('state_dir: /from-file\n', [environment])).state_dir).toBe('/from-env');
    expect((await parse('state_dir: /from-file\n', [environment, flag])).state_dir).toBe('/from-flag');
  });

  it('blames the flag, not the file, for a value from a flag', async () => {
    expect(await mistakes('state_dir: /a\n', [{ path: ['room'], value: 'much', from: '--room' }])).toBe(
      '--room: room: expected a size such as 512MiB or 2GiB',
    );
  });

  it('is absent where no file is, and an error where it cannot be read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'felhom-cli-'));
    expect(await readConfigText(join(folder, 'none.yaml'))).toBeUndefined();
    await expect(readConfigText(folder)).rejects.toMatchObject({ code: 'config_invalid' });
  });
});

describe('quantities', () => {
  it('reads durations with units and nothing else', () => {
    expect(['250ms', '90s', '10m', '1h30m', '1d', '0'].map(parseDuration)).toEqual([
      250, 90_000, 600_000, 5_400_000, 86_400_000, 0,
    ]);
    expect(['10', '', 'm', '-1s', '1 m', '1y'].map(parseDuration)).toEqual(Array(6).fill(undefined));
  });

  it('writes durations so that they read back', () => {
    for (const ms of [0, 1, 1_500, 60_000, 5_400_000, 93_784_005]) expect(parseDuration(formatDuration(ms))).toBe(ms);
  });

  it('reads sizes, binary and decimal', () => {
    expect(['4096B', '512MiB', '2GiB', '1.5TB', '1kB'].map(parseSize)).toEqual([4096, 2 ** 29, 2 ** 31, 1.5e12, 1000]);
    expect(['2', '2G', 'GiB', '-1MiB'].map(parseSize)).toEqual(Array(4).fill(undefined));
  });

  it('tells elapsed time as a person would', () => {
    expect([800, 59_900, 221_000, 7_500_000, 93_600_000].map(formatElapsed)).toEqual([
      '0.8 s',
      '59.9 s',
      '3 min 41 s',
      '2 h 5 min',
      '1 d 2 h',
    ]);
  });
});

describe('a secret file', () => {
  async function secretFile(text: string, mode: number): Promise<string> {
    const path = join(await mkdtemp(join(tmpdir(), 'felhom-cli-')), 'token');
    await writeFile(path, text);
    await chmod(path, mode);
    return path;
  }

  it('is read without its newline and becomes unprintable', async () => {
    expect(await readSecretFile(await secretFile('s3cret-of-a-test\n', 0o600), 'the token')).toBe('s3cret-of-a-test');
    expect(redact('it is s3cret-of-a-test!')).toBe('it is [redacted]!');
  });

  it('is refused when others may read it, with the command that helps', async () => {
    const path = await secretFile('s3cret-of-a-test\n', 0o644);
    await expect(readSecretFile(path, 'the token')).rejects.toMatchObject({
      code: 'config_invalid',
      hint: `Run: chmod 600 ${path}`,
    });
  });

  it('is refused when empty or of several words, and missing when absent', async () => {
    await expect(readSecretFile(await secretFile('\n', 0o600), 'the token')).rejects.toMatchObject({
      code: 'config_invalid',
    });
    await expect(readSecretFile(await secretFile('one two', 0o600), 'the token')).rejects.toMatchObject({
      code: 'config_invalid',
    });
    await expect(readSecretFile('/nowhere/token', 'the token')).rejects.toMatchObject({ code: 'config_missing' });
  });
});
