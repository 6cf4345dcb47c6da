import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StorageSpec } from '../options.ts';
import { isMissing, readText } from '../state/files.ts';
import { parseBackupName, parsePbsName } from './backup-names.ts';

// Invariants:
// - A backup is listed when its final name exists; what is being written (.tar.dat, .tmp) never is.
// - Notes and protection lie beside the archive (`.notes`, `.protected`, as PVE keeps them), in a PBS snapshot's folder for pbs.

/** The archive's name inside a PBS snapshot's folder; the real thing is a chunked pxar, of which nothing here depends. */
export const pbsArchive = 'root.tar.zst';

export interface Backup {
  storage: StorageSpec;
  volid: string;
  type: 'lxc' | 'qemu';
  vmid: number;
  ctime: number;
  format: string;
  /** The archive with the guest's files. */
  path: string;
  size: number;
  notes: string;
  protected: boolean;
}

export function listBackups(storage: StorageSpec): Backup[] {
  return storage.kind === 'pbs' ? listPbs(storage) : listDir(storage);
}

export function findBackup(storages: readonly StorageSpec[], volid: string): Backup | null {
  const storage = storages.find((candidate) => volid.startsWith(`${candidate.id}:`));
  if (storage === undefined) return null;
  return listBackups(storage).find((backup) => backup.volid === volid) ?? null;
}

export function setNotes(backup: Backup, notes: string): void {
  const path = `${attributeBase(backup)}.notes`;
  if (notes === '') rmSync(path, { force: true });
  else writeFileSync(path, notes);
}

export function setProtected(backup: Backup, on: boolean): void {
  const path = `${attributeBase(backup)}.protected`;
  if (on) writeFileSync(path, '');
  else rmSync(path, { force: true });
}

export function removeBackup(backup: Backup): void {
  if (backup.storage.kind === 'pbs') {
    rmSync(join(backup.path, '..'), { recursive: true, force: true });
    return;
  }
  for (const path of [backup.path, `${backup.path}.notes`, backup.path.replace(/\.(tar|vma).*$/, '.log')]) {
    rmSync(path, { force: true });
  }
}

export function dumpFolder(storage: StorageSpec): string {
  const folder = join(storage.dir, 'dump');
  mkdirSync(folder, { recursive: true });
  return folder;
}

function attributeBase(backup: Backup): string {
  return backup.storage.kind === 'pbs' ? join(backup.path, '..', 'snapshot') : backup.path;
}

function withAttributes(backup: Omit<Backup, 'notes' | 'protected'>): Backup {
  const base = attributeBase({ ...backup, notes: '', protected: false });
  return { ...backup, notes: readText(`${base}.notes`) ?? '', protected: existsSync(`${base}.protected`) };
}

function listDir(storage: StorageSpec): Backup[] {
  const folder = join(storage.dir, 'dump');
  return names(folder).flatMap((file) => {
    const parsed = parseBackupName(file);
    if (parsed === null) return [];
    const path = join(folder, file);
    const { type, vmid, ctime, format } = parsed;
    return [
      withAttributes({
        storage,
        volid: `${storage.id}:backup/${file}`,
        type,
        vmid,
        ctime,
        format,
        path,
        size: sizeOf(path),
      }),
    ];
  });
}

function listPbs(storage: StorageSpec): Backup[] {
  return ['ct', 'vm'].flatMap((group) =>
    names(join(storage.dir, group)).flatMap((vmid) =>
      names(join(storage.dir, group, vmid)).flatMap((time) => {
        const name = `${group}/${vmid}/${time}`;
        const parsed = parsePbsName(name);
        const path = join(storage.dir, name, pbsArchive);
        if (parsed === null || !existsSync(path)) return [];
        const format = parsed.type === 'lxc' ? 'pbs-ct' : 'pbs-vm';
        return [
          withAttributes({
            storage,
            volid: `${storage.id}:backup/${name}`,
            ...parsed,
            format,
            path,
            size: sizeOf(path),
          }),
        ];
      }),
    ),
  );
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (isMissing(error)) return 0; // pruned meanwhile
    throw error;
  }
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
