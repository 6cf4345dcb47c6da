import { Failure } from '@felhom/kernel/failure.ts';
import type { KeptFile, OldService } from './debt.ts';
import type { Transaction } from './run.ts';

/**
 * The files of one version in the place of those of the other. What a person has changed since is left only where it makes
 * the services of `as` the same but for the names of images: with other volumes or folders that version would begin
 * without its data. Otherwise it is kept beside, under another name.
 */
export async function replaceFiles(
  { ports, debt, warn }: Transaction,
  { wanted, found, as }: { wanted: readonly KeptFile[]; found: readonly KeptFile[]; as: readonly OldService[] },
): Promise<void> {
  const now = await ports.files.keep(wanted.map(({ path }) => path));
  const theirs: { file: KeptFile; present: KeptFile }[] = [];
  for (const file of wanted) {
    const present = now.find(({ path }) => path === file.path);
    const other = found.find(({ path }) => path === file.path);
    if (present?.base64 === file.base64) continue;
    if (present !== undefined && present.base64 !== other?.base64) theirs.push({ file, present });
    else await ports.files.putBack(file);
  }
  if (theirs.length === 0) return;
  const names = theirs.map(({ file: { path } }) => path).join(', ');
  if (await makesTheSame(ports.engine, debt.files, as)) {
    warn(`${names} was changed since: it is left as it is, and only names images that do not run now`);
    return;
  }
  for (const { file, present } of theirs) {
    await ports.files.putBack({ ...present, path: `${file.path}.edited` });
    await ports.files.putBack(file);
  }
  warn(`${names} was changed since, and would make something else of this version: it is kept as *.edited`);
}

async function makesTheSame(
  engine: Transaction['ports']['engine'],
  files: Transaction['debt']['files'],
  services: readonly OldService[],
): Promise<boolean> {
  if (services.length === 0) return false;
  const images = Object.fromEntries(services.map(({ name, image_ref: ref }) => [name, ref]));
  try {
    const config = await engine.composeConfig(files, { images });
    const hashes = new Map(config.services.map(({ name, hash }) => [name, hash]));
    return services.every(({ name, config_hash: hash }) => hash !== '' && hashes.get(name) === hash);
  } catch (error) {
    if (error instanceof Failure && error.code === 'upgrade_blocked') return false;
    throw error;
  }
}
