/** One line of /proc/self/mountinfo (proc(5)), as far as we read it. */
export interface Mount {
  /** `MAJOR:MINOR` of the file system: the same for every mount of it, subvolumes included. */
  device: string;
  /** Where it is mounted. */
  path: string;
  type: string;
  source: string;
  readOnly: boolean;
}

/** Parses /proc/self/mountinfo. A line that does not look like one is left out. */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [device, path, options] = [fields[2], fields[4], fields[5]];
    const [type, source, superOptions] = fields.slice(dash + 1);
    if (dash < 0 || device === undefined || path === undefined || type === undefined) return [];
    const flags = `${options ?? ''},${superOptions ?? ''}`.split(',');
    return [{ device, path: unquote(path), type, source: unquote(source ?? ''), readOnly: flags.includes('ro') }];
  });
}

/** Blank, tab, newline and backslash stand as octal numbers. */
function unquote(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The mount that holds `path`: of several at one place the last one, which covers the others. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | null {
  let found: Mount | null = null;
  for (const mount of mounts) {
    if (isWithin(path, mount.path) && mount.path.length >= (found?.path.length ?? 0)) found = mount;
  }
  return found;
}

/** Mounts strictly below a folder. */
export function mountsBelow(mounts: readonly Mount[], folder: string): Mount[] {
  return mounts.filter(({ path }) => path !== folder && isWithin(path, folder));
}

/** Whether `path` is `folder` or lies in it. Both absolute and without links. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}
