import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { placeProvider } from './place.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-place-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const write = async (name: string, text: string): Promise<void> => await writeFile(join(folder, name), text);

describe('a place', () => {
  it('with nothing in it declares nothing', async () => {
    const nothing = { guests: [], problems: [] };
    expect(await placeProvider(join(folder, 'absent')).read()).toMatchObject(nothing);
    expect(await placeProvider(folder).read()).toMatchObject(nothing);
    await write('empty.yaml', '# nothing yet\n---\n');
    expect(await placeProvider(join(folder, 'empty.yaml')).read()).toMatchObject(nothing);
  });

  it('that is a folder holds one guest in each YAML file, and nothing else counts', async () => {
    await write('102.yml', 'vmid: 102\ndesired: { cores: 1 }\n');
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 1 }\n');
    await write('.103.yaml.swp', 'vmid: 103\n');
    await write('.104.yaml', 'vmid: 104\n');
    await write('README', 'hello');
    const { guests, problems } = await placeProvider(folder).read();
    expect(guests.map(({ vmid }) => vmid)).toEqual([101, 102]);
    expect(problems).toEqual([]);
  });

  it('that is a file holds a document for each guest, with its mistakes at their lines', async () => {
    const text =
      '# the node\nvmid: 101\ndesired: { cores: 1 }\n--- # the next one\nvmid: 102\ndesired:\n  coores: 1\n--- { vmid: 103, desired: { cores: 2 } }\n...\n';
    await write('guests.yaml', text);
    const { guests, problems } = await placeProvider(join(folder, 'guests.yaml')).read();
    expect(guests.map(({ vmid }) => vmid)).toEqual([101, 103]);
    expect(problems.map(({ vmid, message }) => ({ vmid, message: message.replace(folder, '/F') }))).toEqual([
      { vmid: 102, message: '/F/guests.yaml:7:3: desired.coores: unknown key, did you mean desired.cores?' },
    ]);
  });

  it('goes on with the others where one file is a bomb, is endless, dangles or is a folder', async () => {
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 1 }\n');
    await write('102.yaml', `vmid: 102\nname: "${'x'.repeat(10_000_000)}"\n`);
    await write('103.yaml', `vmid: 103\nname: [${'['.repeat(50_000)}\n`);
    await mkdir(join(folder, '104.yaml'));
    await symlink('/dev/zero', join(folder, '105.yaml'));
    await symlink(join(folder, 'nowhere'), join(folder, '106.yaml'));
    const { guests, problems } = await placeProvider(folder).read();
    expect(guests.map(({ vmid }) => vmid)).toEqual([101]);
    const told = problems.map(({ vmid, message }) => [vmid, message.replaceAll(folder, '/F').split('\n')[0]]);
    expect(told).toEqual([
      [102, '/F/102.yaml: it is 9.5 MiB long, and at most 256 KiB are read'],
      [104, 'the configuration /F/104.yaml cannot be read: it is not a file'],
      [105, 'the configuration /F/105.yaml cannot be read: it is not a file'],
      [106, 'the configuration /F/106.yaml cannot be read: it is gone, or a link to nothing'],
      [103, expect.stringContaining('mistakes in the configuration')],
    ]);
  });

  it('leaves a guest alone whose second file cannot be read', async () => {
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 1 }\n');
    await mkdir(join(folder, '101-old.yaml'));
    const { guests, problems } = await placeProvider(folder).read();
    expect(guests).toEqual([]);
    expect(problems).toMatchObject([{ vmid: 101 }]);
  });

  it('that cannot be read is an error: it is not known to be empty', async () => {
    await write('file', '');
    await expect(placeProvider(join(folder, 'file', 'guests.d')).read()).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });

  it('is what it is now in every pass, whatever it was in the one before', async () => {
    const provider = placeProvider(folder);
    const cores = async () => (await provider.read()).guests.map(({ vmid, fields }) => [vmid, fields.cores]);
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 1 }\n');
    await write('102.yaml', 'vmid: 102\ndesired: { cores: 1 }\n');
    expect(await cores()).toEqual([
      [101, '1'],
      [102, '1'],
    ]);
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 2 }\n');
    await rm(join(folder, '102.yaml'));
    expect(await cores()).toEqual([[101, '2']]);
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 0 }\n');
    expect(await provider.read()).toMatchObject({ guests: [], problems: [{ vmid: 101 }] });
    await write('101.yaml', 'vmid: 101\ndesired: { cores: 3 }\n');
    expect(await cores()).toEqual([[101, '3']]);
  });

  it('has another version when anything in it changed', async () => {
    const provider = placeProvider(folder);
    await write('101.yaml', 'vmid: 101\n');
    const first = await provider.read();
    expect((await provider.read()).version).toBe(first.version);
    await write('101.yaml', 'vmid: 101\n# a word\n');
    expect((await provider.read()).version).not.toBe(first.version);
  });
});
