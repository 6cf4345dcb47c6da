import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatKeyLine, generateSigningKey } from '@felhom/signed-document/keys.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSigners } from './signers.ts';

const [anna, ben] = [generateSigningKey(), generateSigningKey()];
const line = ({ publicKey }: typeof anna, name = ''): string => formatKeyLine(publicKey, name);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-signers-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('who may sign', () => {
  it('is nobody where nobody is named', async () => {
    expect(await readSigners([])).toEqual([]);
    expect(await readSigners(folder)).toEqual([]);
  });

  it('stands in a list, or in the files of a folder with comments', async () => {
    expect(await readSigners([line(anna, 'anna'), line(ben)])).toMatchObject([{ name: 'anna' }, { name: '' }]);
    await writeFile(join(folder, 'team.pub'), `# the team\n\n${line(anna, 'anna')}\n  ${line(ben, 'ben')}\n`, {
      mode: 0o644,
    });
    await writeFile(join(folder, 'notes.txt'), 'no key');
    expect((await readSigners(folder)).map(({ keyId }) => keyId)).toEqual([anna.keyId, ben.keyId]);
  });

  it('is revoked wherever it is, and stays so beside a good line of the same key', async () => {
    const both = [line(anna), `revoked ${line(anna)} laptop`, line(ben)];
    expect((await readSigners(both)).map(({ revoked }) => revoked)).toEqual([true, false]);
    expect((await readSigners(both.toReversed())).filter(({ revoked }) => revoked)).toHaveLength(1);
  });

  it.each([
    ['a line that is no key', async () => await readSigners(['ed25519:short'])],
    [
      'a file with a line that is no key',
      async () => {
        await writeFile(join(folder, 'a.pub'), 'ssh-ed25519 AAAA', { mode: 0o600 });
        return await readSigners(folder);
      },
    ],
    ['a folder that is not there', async () => await readSigners(join(folder, 'none'))],
    [
      'a folder that others may write to',
      async () => {
        await mkdir(join(folder, 'open'));
        await chmod(join(folder, 'open'), 0o777);
        return await readSigners(join(folder, 'open'));
      },
    ],
    [
      'a file that others may write to',
      async () => {
        await writeFile(join(folder, 'a.pub'), line(anna));
        await chmod(join(folder, 'a.pub'), 0o664);
        return await readSigners(folder);
      },
    ],
  ])('is not told by %s', async (_, read) => {
    await expect(read()).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('no operation is taken'),
    });
  });
});
