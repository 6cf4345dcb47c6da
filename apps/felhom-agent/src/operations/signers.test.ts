import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatKeyLine, generateSigningKey } from '@felhom/signed-document/keys.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { operationSigners, readSigners } from './signers.ts';
import { trustedOwners } from './trusted-file.ts';

const [anna, ben] = [generateSigningKey(), generateSigningKey()];
const line = ({ publicKey }: typeof anna, name = ''): string => formatKeyLine(publicKey, name);

const stranger = 4711;
const read = async (signers: string | readonly string[]) => await readSigners(signers, await trustedOwners());

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-signers-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('who may sign', () => {
  it('is nobody where nobody is named', async () => {
    expect(await read([])).toEqual([]);
    expect(await read(folder)).toEqual([]);
  });

  it('stands in a list, or in the files of a folder with comments', async () => {
    expect(await read([line(anna, 'anna'), line(ben)])).toMatchObject([{ name: 'anna' }, { name: '' }]);
    await writeFile(join(folder, 'team.pub'), `# the team\n\n${line(anna, 'anna')}\n  ${line(ben, 'ben')}\n`, {
      mode: 0o644,
    });
    await writeFile(join(folder, 'notes.txt'), 'no key');
    expect((await read(folder)).map(({ keyId }) => keyId)).toEqual([anna.keyId, ben.keyId]);
  });

  it('is revoked wherever it is, and stays so beside a good line of the same key', async () => {
    const both = [line(anna), `revoked ${line(anna)} laptop`, line(ben)];
    expect((await read(both)).map(({ revoked }) => revoked)).toEqual([true, false]);
    expect((await read(both.toReversed())).filter(({ revoked }) => revoked)).toHaveLength(1);
  });

  it('is told by a folder in a sticky one, as all of /tmp is, and through a link to a folder', async () => {
    await writeFile(join(folder, 'a.pub'), line(anna), { mode: 0o644 });
    await symlink(folder, `${folder}.link`);
    expect(await read(`${folder}.link`)).toHaveLength(1);
    await rm(`${folder}.link`);
  });

  it.each<[string, string, () => Promise<unknown>]>([
    ['a line that is no key', 'is no key line', async () => await read(['ed25519:short'])],
    ['a file with a line that is no key', 'is no key line', async () => await inFile('ssh-ed25519 AAAA')],
    ['a folder that is not there', 'ENOENT', async () => await read(join(folder, 'none'))],
    [
      'a folder that others may write to',
      'can be written by others (mode 777)',
      async () => await inFile(line(anna), { folderMode: 0o777 }),
    ],
    [
      'a folder that others may write to, sticky or not',
      'can be written by others (mode 1777)',
      async () => await inFile(line(anna), { folderMode: 0o1777 }),
    ],
    [
      'a folder in one that others may write to',
      'can be written by others (mode 777)',
      async () => {
        await chmod(folder, 0o777);
        await mkdir(join(folder, 'closed'), { mode: 0o755 });
        return await read(join(folder, 'closed'));
      },
    ],
    [
      'a file that others may write to',
      'can be written by others (mode 664)',
      async () => await inFile(line(anna), { mode: 0o664 }),
    ],
    [
      'a file that belongs to somebody else',
      `belongs to user ${stranger}`,
      async () => await inFile(line(anna), { owner: stranger }),
    ],
    [
      'a folder that belongs to somebody else',
      `belongs to user ${process.geteuid?.()}`,
      async () => await readSigners(folder, new Set([stranger])),
    ],
    [
      'a link, which may lead to where others write',
      'is a link',
      async () => {
        await writeFile(join(folder, 'key'), line(anna), { mode: 0o644 });
        await symlink(join(folder, 'key'), join(folder, 'a.pub'));
        return await read(folder);
      },
    ],
    [
      'anything but a file',
      'is no regular file',
      async () => {
        await mkdir(join(folder, 'a.pub'));
        return await read(folder);
      },
    ],
    ['a file that is too long', 'is longer than', async () => await inFile(`${line(anna)}\n${'#'.repeat(5000)}`)],
  ])('is not told by %s', async (_, why, reading) => {
    await expect(reading()).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(`${escaped(why)}.*no operation is taken`),
    });
  });

  it('stands in agent.yaml only where nobody else can write that', async () => {
    const file = join(folder, 'agent.yaml');
    const config = { signers: [line(anna)], state: join(folder, 'state') };
    await writeFile(file, 'signers: …', { mode: 0o644 });
    expect(await operationSigners(config, file)).toHaveLength(1);
    await chown(file, stranger, 0);
    await expect(operationSigners(config, file)).rejects.toMatchObject({ code: 'config_invalid' });
    // The user of the agent, to whom its state belongs, is trusted with it.
    await mkdir(config.state);
    await chown(config.state, stranger, 0);
    expect(await operationSigners(config, file)).toHaveLength(1);
    await chmod(file, 0o646);
    await expect(operationSigners(config, file)).rejects.toMatchObject({ code: 'config_invalid' });
    expect(await operationSigners({ ...config, signers: [] }, file)).toEqual([]);
  });
});

describe('the record of what was done', () => {
  it('is trusted only where nobody but the agent can put an older one in its place', async () => {
    const file = join(folder, 'agent.yaml');
    await writeFile(file, 'signers: …', { mode: 0o644 });
    const config = { signers: [line(anna)], state: join(folder, 'var/state') };
    expect(await operationSigners(config, file)).toHaveLength(1);
    await mkdir(config.state, { recursive: true, mode: 0o700 });
    expect(await operationSigners(config, file)).toHaveLength(1);
    for (const [place, mode] of [
      [config.state, 0o770],
      [config.state, 0o1777],
      [join(folder, 'var'), 0o775],
    ] as const) {
      await chmod(place, mode);
      await expect(operationSigners(config, file)).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringContaining(`${place} can be written by others`),
      });
      expect(await operationSigners({ ...config, signers: [] }, file)).toEqual([]);
      await chmod(place, 0o700);
    }
  });
});

/** Reads signers from a folder whose only file holds `text`. */
async function inFile(
  text: string,
  { mode = 0o644, folderMode = 0o755, owner }: { mode?: number; folderMode?: number; owner?: number } = {},
): Promise<unknown> {
  const [place, file] = [join(folder, 'signers'), join(folder, 'signers/a.pub')];
  await mkdir(place);
  await writeFile(file, text);
  await chmod(file, mode);
  await chmod(place, folderMode);
  if (owner !== undefined) await chown(file, owner, 0);
  return await read(place);
}

function escaped(text: string): string {
  return text.replaceAll(/[().]/g, '\\$&');
}
