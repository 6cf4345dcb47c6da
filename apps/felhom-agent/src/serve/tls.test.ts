import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ScratchFolder, scratchFolder } from '@felhom/durable/scratch-disk.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureCertificate } from './tls.ts';

let folder: ScratchFolder;
beforeEach(async () => {
  folder = await scratchFolder();
});
afterEach(async () => await folder.remove());

describe("the agent's certificate", () => {
  it('is made once, 0600, and kept', async () => {
    const first = await ensureCertificate(folder.path, systemCommands);
    expect(first.fingerprint).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    expect(await readdir(folder.path)).toEqual(['tls-cert.pem', 'tls-key.pem']);
    expect((await stat(join(folder.path, 'tls-key.pem'))).mode & 0o777).toBe(0o600);
    expect(await ensureCertificate(folder.path, systemCommands)).toEqual(first);
  });

  it('without its key is made anew', async () => {
    const first = await ensureCertificate(folder.path, systemCommands);
    await rm(join(folder.path, 'tls-key.pem'));
    expect((await ensureCertificate(folder.path, systemCommands)).fingerprint).not.toBe(first.fingerprint);
  });

  it('that is there and cannot be read is never made anew: every guest has its fingerprint', async () => {
    await ensureCertificate(folder.path, systemCommands);
    const [key, cert] = [join(folder.path, 'tls-key.pem'), join(folder.path, 'tls-cert.pem')];
    await writeFile(cert, 'cut off');
    await expect(ensureCertificate(folder.path, systemCommands)).rejects.toMatchObject({ code: 'state_unreadable' });
    await rm(key);
    await mkdir(key);
    await expect(ensureCertificate(folder.path, systemCommands)).rejects.toMatchObject({ code: 'state_unreadable' });
    expect(await readFile(cert, 'utf8')).toBe('cut off');
  });

  it('that cannot be made leaves nothing, and says what to install', async () => {
    const failing = {
      run: async () => ({ exitCode: 1, signal: null, timedOut: false, stdout: '', stderr: 'no entropy\n' }),
    };
    await expect(ensureCertificate(folder.path, failing)).rejects.toMatchObject({
      code: 'operation_failed',
      message: expect.stringMatching(/no entropy; the agent is not serving/),
    });
    expect(await readdir(folder.path)).toEqual([]);
  });
});
