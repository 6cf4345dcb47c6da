import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { rolldown } from 'rolldown';
import { laterBuiltins } from './later-builtins.ts';

/*
 * Invariants of a build:
 * - The output is a function of the sources: chunk names are stable, nothing carries a time or an absolute path.
 * - A file that is already right is not touched, another is replaced by rename: a program that runs keeps what it has.
 * - What this build did not make does not stay in the folder.
 */

const root = resolve(import.meta.dirname, '../..');

export const apps = ['felhom-agent', 'felhom-controller'] as const;
export type App = (typeof apps)[number];

/** Where an app's program stands once it is built. */
export function bundlePath(app: App, base: string = root): string {
  return join(base, 'apps', app, 'dist', `${app}.js`);
}

/** Builds both programs; the answer names the files that changed, relative to the repository. */
export async function bundleApps(): Promise<string[]> {
  const changed: string[] = [];
  for (const app of apps) {
    const output = dirname(bundlePath(app));
    const files = await bundle({ base: root, entries: { [app]: join(root, 'apps', app, 'src/main.ts') }, output });
    changed.push(...(await publish(files, output)).map((file) => relative(root, join(output, file))));
    await chmod(bundlePath(app), 0o755);
  }
  return changed;
}

/** Where the simulator and its vzdump worker stand once they are built. */
export const simulatorFolder = join(root, 'packages/pve-sim/dist');

/**
 * Builds the simulator's programs: one is started for every lab, and the other for every backup. From their sources that
 * takes ten times as long.
 */
export async function bundleSimulator(): Promise<void> {
  const sources = join(root, 'packages/pve-sim/src');
  const entries = { 'pve-sim': join(sources, 'main.ts'), worker: join(sources, 'vzdump/worker-main.ts') };
  await publish(await bundle({ base: root, entries, output: simulatorFolder }), simulatorFolder);
}

export interface BundleRequest {
  /** Paths in the output are relative to it. */
  base: string;
  /** The programs, by the names of their files without their ending. */
  entries: Readonly<Record<string, string>>;
  /** Where the files will stand: source maps point from there to the sources. */
  output: string;
}

/**
 * Programs as code-split CommonJS that runs from anywhere without node_modules: their entries, and a chunk for every
 * `import()`. CommonJS because Node 20 takes 3 to 4 ms to start a module graph (docs/adr/0004). Unminified, so that a
 * stack trace can be read on the machine where it happened. `using` is lowered for Node 20.
 */
export async function bundle({ base, entries, output }: BundleRequest): Promise<Map<string, string>> {
  const build = await rolldown({
    input: { ...entries },
    cwd: base,
    platform: 'node',
    tsconfig: false,
    plugins: [laterBuiltins()],
    preserveEntrySignatures: false,
    transform: { target: 'node20.19' },
    treeshake: { moduleSideEffects: [{ test: /\/(packages|apps)\/[^/]+\/src\//, sideEffects: false }] },
    onLog: (level, log, print) => {
      // A bundle that lost an import would only be noticed where it runs.
      if (log.code === 'UNRESOLVED_IMPORT') throw new Error(log.message);
      print(level, log);
    },
  });
  const { output: files } = await build.generate({
    dir: output,
    format: 'cjs',
    sourcemap: true,
    comments: false,
    minifyInternalExports: false,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name].js',
    banner: (chunk) => (chunk.isEntry ? '#!/usr/bin/env node' : ''),
  });
  await build.close();
  const texts = new Map<string, string>();
  for (const file of files) {
    const content = file.type === 'chunk' ? file.code : file.source;
    texts.set(file.fileName, typeof content === 'string' ? content : Buffer.from(content).toString('utf8'));
  }
  // The repository's own package.json above says that its files are modules; these are not.
  texts.set('package.json', '{ "type": "commonjs" }\n');
  return texts;
}

/** Makes `folder` hold exactly `files`; answers the names of those that were written or removed. */
async function publish(files: Map<string, string>, folder: string): Promise<string[]> {
  const changed: string[] = [];
  for (const [name, text] of files) {
    const path = join(folder, name);
    if ((await readFile(path, 'utf8').catch(() => undefined)) === text) continue;
    await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${process.pid}.tmp`;
    await writeFile(temporary, text, { mode: 0o755 });
    await rename(temporary, path);
    changed.push(name);
  }
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path);
    if (entry.isDirectory() || files.has(name) || name.endsWith('.tmp')) continue;
    await rm(path);
    changed.push(name);
  }
  return changed;
}
