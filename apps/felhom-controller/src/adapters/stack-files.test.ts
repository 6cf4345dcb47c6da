import { chmod, mkdir, mkdtemp, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stackFiles } from './stack-files.ts';

let folder: string;
const at = (name: string): string => join(folder, name);
const put = async (files: Record<string, string>): Promise<void> => {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(at(name)), { recursive: true });
    await writeFile(at(name), text);
  }
};
const files = (serviceEnvFiles: string[] = []): ReturnType<typeof stackFiles> =>
  stackFiles({ composeModel: async () => ({ serviceEnvFiles }) });
const belonging = async (more: { envFiles?: string[]; serviceEnvFiles?: string[] } = {}): Promise<string[]> => {
  const project = { project: 'shop', composeFiles: [at('compose.yaml')], envFiles: more.envFiles ?? [] };
  const found = await files(more.serviceEnvFiles).belonging({ ...project, workingDir: folder });
  return found.map((path) => path.slice(folder.length + 1));
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-files-'));
});
afterEach(async () => await rm(folder, { recursive: true }));

describe('the files that make a stack', () => {
  it('are those that its Compose file includes too, however deep, with the env files of each', async () => {
    await put({
      'compose.yaml':
        'include: [db/compose.yaml, { path: [web/one.yaml, web/two.yaml], env_file: web/own.env }, { path: mail/m.yaml, project_directory: mail/home }]\n',
      '.env': 'A=1',
      'db/compose.yaml': 'include: [deep/compose.yaml]\n',
      'db/.env': 'B=1',
      'db/deep/compose.yaml': 'services: { db: { extends: { file: ../base.yaml, service: db } } }\n',
      'db/base.yaml': 'services: { db: { image: db } }\n',
      'web/one.yaml': '{}',
      'web/two.yaml': '{}',
      'web/own.env': 'C=1',
      'web/.env': 'not read: another is named',
      'mail/m.yaml': '{}',
      'mail/.env': 'not read: the project is at home elsewhere',
      'mail/home/.env': 'D=1',
      'other.yaml': '{}',
    });
    expect(await belonging()).toEqual([
      '.env',
      'compose.yaml',
      'db/.env',
      'db/base.yaml',
      'db/compose.yaml',
      'db/deep/compose.yaml',
      'mail/home/.env',
      'mail/m.yaml',
      'web/one.yaml',
      'web/own.env',
      'web/two.yaml',
    ]);
  });

  it('are the env files that Compose names for its services, and those that were named on its command line instead of .env', async () => {
    await put({ 'compose.yaml': '{}', '.env': 'A=1', 'prod.env': 'A=2', 'app.env': 'B=1' });
    expect(await belonging({ envFiles: [at('prod.env')], serviceEnvFiles: [at('app.env'), at('gone.env')] })).toEqual([
      'app.env',
      'compose.yaml',
      'prod.env',
    ]);
  });

  it('are found where Compose refuses them: what lies there is kept all the same', async () => {
    await put({ 'compose.yaml': 'include: [db.yaml]\nservices: 7\n', 'db.yaml': '{}' });
    const refusing = stackFiles({
      composeModel: async () => {
        throw new Failure('operation_failed', { message: 'services must be a mapping', hint: '' });
      },
    });
    const project = { project: 'shop', composeFiles: [at('compose.yaml')], envFiles: [], workingDir: folder };
    expect(await refusing.belonging(project)).toEqual([at('compose.yaml'), at('db.yaml')]);
  });

  it('are put back through a link, which stays one', async () => {
    await put({ 'real.yaml': 'old' });
    await symlink('real.yaml', at('compose.yaml'));
    const [kept] = await files().keep(await files().belonging(projectAt()));
    await put({ 'real.yaml': 'new' });
    if (kept === undefined) throw new Error('nothing was kept');
    await files().putBack(kept);
    expect([await readlink(at('compose.yaml')), await readFile(at('real.yaml'), 'utf8')]).toEqual(['real.yaml', 'old']);
  });
});

it('a file that is put back has its old mode again', async () => {
  await put({ 'compose.yaml': 'old' });
  await chmod(at('compose.yaml'), 0o664);
  const [kept] = await files().keep([at('compose.yaml')]);
  await rm(at('compose.yaml'));
  if (kept === undefined) throw new Error('nothing was kept');
  await files().putBack(kept);
  expect((await stat(at('compose.yaml'))).mode & 0o7777).toBe(0o664);
});

function projectAt() {
  return { project: 'shop', composeFiles: [at('compose.yaml')], envFiles: [], workingDir: folder };
}
