import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { versionListIn } from './version-list.ts';

let folder: string;
const at = (name: string): string => join(folder, name);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'felhom-pve-'));
  writeFileSync(at('.version'), '{\n"starttime": 1790000000,\n"clinfo": 3,\n"vmlist": 9}\n');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the version list', () => {
  it('is read as the cluster filesystem writes it', async () => {
    const ids =
      '"101": { "node": "pve1", "type": "lxc", "version": 7 },\n"102": { "node": "pve2", "type": "qemu", "version": 4 }';
    writeFileSync(at('.vmlist'), `{\n"version": 9,\n"ids": {\n${ids}}\n\n}\n`);
    expect(await versionListIn(folder, systemClock)()).toEqual({
      generation: '1790000000',
      guests: new Map([
        [101, { node: 'pve1', version: 7 }],
        [102, { node: 'pve2', version: 4 }],
      ]),
    });
  });

  it('of a cluster without guests has no ids', async () => {
    writeFileSync(at('.vmlist'), '{\n"version": 1\n}\n');
    expect((await versionListIn(folder, systemClock)())?.guests.size).toBe(0);
  });

  it.each([
    ['truncated', '{"version": 9, "ids": {"101": {"node": "pve1", "ver'],
    ['of another shape', '{"version": 9, "ids": {"101": {"node": 5, "version": "7"}}}'],
    ['a web page', '<html></html>'],
    ['empty', ''],
  ])('that is %s is none', async (_name, text) => {
    writeFileSync(at('.vmlist'), text);
    expect(await versionListIn(folder, systemClock)()).toBeNull();
  });

  it('is none without a start time, without a file, without a folder', async () => {
    expect(await versionListIn(folder, systemClock)()).toBeNull();
    writeFileSync(at('.vmlist'), '{"version": 1}');
    writeFileSync(at('.version'), '{"clinfo": 3}');
    expect(await versionListIn(folder, systemClock)()).toBeNull();
    expect(await versionListIn(at('nowhere'), systemClock)()).toBeNull();
  });

  it('that is endless is given up at its bound', async () => {
    rmSync(at('.version'));
    execFileSync('ln', ['-s', '/dev/zero', at('.version')]);
    expect(await versionListIn(folder, systemClock)()).toBeNull();
  });

  it('that hangs is waited for by nobody, no second read is begun beside it, and it is had once it answers', async () => {
    execFileSync('mkfifo', [at('.vmlist')]);
    let patient = false;
    const untilAborted = async (_ms: number, signal?: AbortSignal): Promise<void> =>
      patient ? await new Promise((resolve) => signal?.addEventListener('abort', () => resolve())) : undefined;
    const read = versionListIn(folder, { sleep: untilAborted });
    expect([await read(), await read()]).toEqual([null, null]);
    // Not the synchronous one: it would wait here for a reader that has not come so far.
    await writeFile(at('.vmlist'), '{"version": 1}');
    rmSync(at('.vmlist'));
    writeFileSync(at('.vmlist'), '{"version": 1}');
    patient = true;
    await vi.waitFor(async () => expect(await read()).not.toBeNull());
  });
});
