import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { must } from '../lab/process.ts';
import { portrait } from './portrait.ts';
import { editManifest, makeStage, type Stage } from './stage.ts';

/*
 * A restore of anything that is not what was kept touches nothing and says why. Each case spoils a good snapshot; what
 * is crafted carries hashes and a checksum that fit, as an attacker or a clumsy hand would write them.
 */

let folder: string;
let stage: Stage;
let id: string;
let before: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-damaged-'));
  stage = await makeStage(folder);
  await must('sh', [
    '-c',
    'cd "$0"; head -c 300000 /dev/urandom >rows; mkdir sub; echo x >sub/x; ln -s /dev/stdout log',
    stage.volume,
  ]);
  await writeFile(join(stage.bind, 'upload'), 'an upload');
  id = (await stage.take()).id;
  await writeFile(join(stage.volume, 'rows'), 'what the app has written since');
  before = await everything();
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

/** All that a restore could touch: the stack's data, what lies beside it, the debts. */
async function everything(): Promise<string> {
  const parts = [join(folder, 'volumes'), stage.project, join(folder, 'state')];
  await mkdir(join(folder, 'state'), { recursive: true });
  return (await Promise.all(parts.map(portrait))).join('\n');
}

async function expectRefused(code: string, words: RegExp): Promise<void> {
  const refused = stage.restore(id);
  await expect(refused).rejects.toMatchObject({ code });
  await expect(refused).rejects.toThrow(words);
  await expect(refused).rejects.toThrow(/Nothing was touched$|nothing was touched$/);
  expect(await everything()).toBe(before);
}

const archive = (): string => join(stage.kept(id), 'data/1.tar.zst');

/** A member of an archive as POSIX writes it (ustar): a hard link has the type `1` and no content. */
function hardLinkHeader(name: string, target: string): Buffer {
  const header = Buffer.alloc(512);
  const put = (at: number, text: string): void => void header.write(text, at, 'latin1');
  put(0, name);
  put(100, '0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00');
  put(148, '        1');
  put(157, target);
  put(257, 'ustar\x0000');
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  return header;
}

/** Puts another archive in the place of the volume's, with size, hash and checksum that fit. */
async function craft(tarArguments: readonly string[], claims: Record<string, unknown> = {}): Promise<void> {
  const plain = join(folder, 'crafted.tar');
  await must('tar', ['--create', '--file', plain, ...tarArguments]);
  await craftFrom(plain, claims);
}

async function craftFrom(plain: string, claims: Record<string, unknown> = {}): Promise<void> {
  await must('zstd', ['--quiet', '--force', plain, '-o', archive()]);
  const bytes = await readFile(archive());
  await editManifest(stage.kept(id), (manifest) => {
    const sources = manifest['sources'] as { stored: string; stored_bytes: number; seal: Record<string, unknown> }[];
    const source = sources.find(({ stored }) => stored === 'data/1.tar.zst');
    if (source === undefined) throw new Error('the volume is not in the manifest');
    source.stored_bytes = bytes.byteLength;
    source.seal = { ...source.seal, sha256: createHash('sha256').update(bytes).digest('hex'), ...claims };
  });
}

describe('a snapshot that is whole', () => {
  it('is put back: the cases below fail for their own reason', async () => {
    await stage.restore(id);
    expect((await readFile(join(stage.volume, 'rows'))).byteLength).toBe(300_000);
  });
});

describe('a damaged snapshot is refused', () => {
  it('with one flipped bit in an archive', async () => {
    const bytes = await readFile(archive());
    bytes[150_000] = (bytes[150_000] ?? 0) ^ 0x10;
    await writeFile(archive(), bytes);
    await expectRefused('snapshot_damaged', /data\/1\.tar\.zst \(shop_data\) has another hash/);
  });

  it('with one flipped bit, where it was never sealed: the archive has a checksum of its own', async () => {
    await editManifest(stage.kept(id), (manifest) => {
      for (const source of manifest['sources'] as { seal: unknown }[]) source.seal = null;
    });
    const bytes = await readFile(archive());
    bytes[150_000] = (bytes[150_000] ?? 0) ^ 0x10;
    await writeFile(archive(), bytes);
    await expectRefused('snapshot_damaged', /cannot be read to its end/);
  });

  it('without one of its archives', async () => {
    await rm(archive());
    await expectRefused('snapshot_damaged', /data\/1\.tar\.zst \(shop_data\) is missing/);
  });

  it('with an archive that was cut off', async () => {
    await truncate(archive(), 100_000);
    await expectRefused('snapshot_damaged', /has 100000 bytes instead of/);
  });

  it('with a link in the place of an archive', async () => {
    await rename(archive(), `${archive()}.away`);
    await must('ln', ['-s', `${archive()}.away`, archive()]);
    await expectRefused('snapshot_damaged', /is not of the kind that was kept/);
  });

  it('with one flipped bit in its manifest', async () => {
    const path = join(stage.kept(id), 'manifest.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('shop/files', 'shop/filez'));
    await expectRefused('snapshot_damaged', /its checksum does not fit/);
  });

  it('with a manifest that was cut off', async () => {
    await truncate(join(stage.kept(id), 'manifest.json'), 200);
    await expectRefused('snapshot_damaged', /its manifest is truncated or no JSON/);
  });

  it('without a manifest', async () => {
    await rm(join(stage.kept(id), 'manifest.json'));
    await expectRefused('snapshot_damaged', /it has no manifest/);
  });

  it('with a Compose file that was changed', async () => {
    await writeFile(join(stage.kept(id), 'files/0'), 'services: { evil: {} }\n');
    await expectRefused('snapshot_damaged', /files\/0 .* is not what was kept/);
  });
});

describe('a foreign snapshot is refused', () => {
  it('of another stack', async () => {
    await editManifest(stage.kept(id), (manifest) => Object.assign(manifest, { stack: 'wiki' }));
    await expectRefused('snapshot_damaged', /belongs to the stack wiki/);
  });

  it('under another id', async () => {
    await editManifest(stage.kept(id), (manifest) => Object.assign(manifest, { id: '20200101T000000000-abcdef' }));
    await expectRefused('snapshot_damaged', /is that of snapshot 20200101T000000000-abcdef/);
  });

  it('whose manifest points out of its folder', async () => {
    const path = join(stage.kept(id), 'manifest.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"data/1.tar.zst"', '"../../../etc/x.tar.zst"'));
    await expectRefused('snapshot_damaged', /its manifest cannot be believed/);
  });

  it('written by a newer version', async () => {
    const path = join(stage.kept(id), 'manifest.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"version": 1', '"version": 2'));
    await expectRefused('state_newer', /newer version/);
  });
});

describe('an archive that would write where it has no business is refused', () => {
  it('by a name with ..', async () => {
    await writeFile(join(folder, 'evil'), 'evil');
    await craft(['--absolute-names', '--directory', stage.volume, '../../../evil']);
    await expectRefused('snapshot_damaged', /"\.\.\/\.\.\/\.\.\/evil" lies outside of the source/);
  });

  it('by an absolute name', async () => {
    await craft(['--absolute-names', '/etc/hostname']);
    await expectRefused('snapshot_damaged', /"\/etc\/hostname" lies outside of the source/);
  });

  it('by a hard link that leads out', async () => {
    // tar itself would not write such a thing: one header, by hand.
    await writeFile(join(folder, 'evil.tar'), Buffer.concat([hardLinkHeader('b', '/etc/passwd'), Buffer.alloc(1024)]));
    await craftFrom(join(folder, 'evil.tar'));
    await expectRefused('snapshot_damaged', /"b" is a hard link to "\/etc\/passwd"/);
  });

  it('through a symbolic link that it brings along', async () => {
    await must('sh', ['-c', 'cd "$0"; mkdir one two; ln -s /etc one/way; mkdir two/way; echo x >two/way/cron', folder]);
    await craft(['--directory', join(folder, 'one'), 'way', '--directory', join(folder, 'two'), 'way/cron']);
    await expectRefused('snapshot_damaged', /"way\/cron" passes through a symbolic link/);
  });

  it('with a device in it', async () => {
    await craft(['--directory', '/dev', 'null']);
    await expectRefused('snapshot_damaged', /"null" is a device/);
  });

  it('with an absolute link that was not in it when it was kept', async () => {
    await must('sh', [
      '-c',
      'cd "$0"; mkdir other; cd other; ln -s /etc/shadow log; ln -s /etc/passwd sub; echo x >rows; echo y >y',
      folder,
    ]);
    await craft(['--directory', join(folder, 'other'), '.']);
    await expectRefused('snapshot_damaged', /2 absolute links or links that lead out, instead of 1/);
  });

  it('with members that were not in it when it was kept', async () => {
    await must('sh', ['-c', 'cd "$0"; mkdir other; cd other; echo x >one', folder]);
    await craft(['--directory', join(folder, 'other'), '.'], { outside_links: 0 });
    await expectRefused('snapshot_damaged', /has 2 members instead of 5/);
  });
});

describe('a snapshot that does not fit the stack any more is refused', () => {
  it('for a volume that the engine no longer has', async () => {
    stage.fake.removeVolume('shop_data');
    await expectRefused('snapshot_impossible', /the engine has no volume shop_data any more/);
  });

  it('for a volume that the stack no longer uses', async () => {
    stage.fake.remove('shop-db-1');
    stage.fake.add({
      name: 'shop-db-1',
      project: 'shop',
      status: 'exited',
      composeFiles: [join(stage.project, 'compose.yaml')],
      workingDir: stage.project,
    });
    await expectRefused('snapshot_impossible', /the stack no longer uses the volume shop_data/);
  });

  it('while a container of the stack runs', async () => {
    stage.fake.startByHand('shop-db-1');
    await expectRefused('stack_running', /shop-db-1 is running/);
  });

  it('while a container outside of the stack uses the same data', async () => {
    stage.fake.add({
      name: 'backup-tool',
      mounts: [{ kind: 'volume', source: stage.volume, destination: '/d', volume: 'shop_data', writable: true }],
    });
    await expectRefused('stack_running', /backup-tool uses the same data and runs/);
  });

  it('for a stack that has no such snapshot', async () => {
    id = '20200101T000000000-abcdef';
    const refused = stage.restore(id);
    await expect(refused).rejects.toMatchObject({ code: 'not_found' });
    expect(await everything()).toBe(before);
  });
});
