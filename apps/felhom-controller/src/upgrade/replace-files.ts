import { Failure } from '@felhom/kernel/failure.ts';
import type { KeptFile } from './debt.ts';
import type { Transaction } from './run.ts';

/**
 * The files of one version in the place of those of the other. What a person has changed since is left, unless Compose
 * refuses it: then it is kept beside, under another name.
 */
export async function replaceFiles(
  { ports, debt, warn }: Transaction,
  { wanted, found }: { wanted: readonly KeptFile[]; found: readonly KeptFile[] },
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
  if (await isAccepted(ports.engine, debt.files)) {
    warn(`${names} was changed while the upgrade ran: it is left as it is, and differs from what runs now`);
    return;
  }
  for (const { file, present } of theirs) {
    await ports.files.putBack({ ...present, path: `${file.path}.edited` });
    await ports.files.putBack(file);
  }
  warn(`${names} was changed while the upgrade ran, and Compose refuses it: it is kept as *.edited`);
}

async function isAccepted(
  engine: Transaction['ports']['engine'],
  files: Transaction['debt']['files'],
): Promise<boolean> {
  try {
    await engine.composeConfig(files);
    return true;
  } catch (error) {
    if (error instanceof Failure && error.code === 'upgrade_blocked') return false;
    throw error;
  }
}
