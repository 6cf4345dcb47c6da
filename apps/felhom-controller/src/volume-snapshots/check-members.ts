import type { Member } from './ports.ts';

/** What a walk over an archive or a tree found. */
export interface MembersFound {
  members: number;
  /** Links that lead out of the source: data like any other, and counted, so that one more is a fault. */
  outsideLinks: number;
  /** Why nothing of it may be unpacked; the first few. */
  faults: string[];
}

const faultsTold = 5;

/**
 * Watches over the members of an archive, in order. Refused is whatever could write outside of the folder it is
 * unpacked into, or make something that is no data: absolute names and `..`, hard links that lead out, names that pass
 * through a symbolic link, devices and sockets. A symbolic link that leads out is an app's own data (a log that links to
 * /dev/stdout): it is kept, never followed, and counted.
 */
export function watchMembers(): { see: (member: Member) => void; found: () => MembersFound } {
  const faults: string[] = [];
  const links = new Set<string>();
  let members = 0;
  let outsideLinks = 0;
  const fault = (member: Member, why: string): void => {
    if (faults.length < faultsTold) faults.push(`${JSON.stringify(member.path)} ${why}`);
  };
  return {
    see: (member) => {
      members += 1;
      const { kind, target } = member;
      const path = clean(member.path);
      if (isOutside(member.path)) fault(member, 'lies outside of the source');
      if (kind === 'device' || kind === 'socket' || kind === 'other')
        fault(member, `is a ${kind === 'other' ? 'thing of no known kind' : kind}`);
      if (ancestors(path).some((each) => links.has(each))) fault(member, 'passes through a symbolic link');
      if (kind === 'hardlink' && (target === null || isOutside(target)))
        fault(member, `is a hard link to ${JSON.stringify(target)}, outside of the source`);
      if (kind === 'hardlink' && target !== null && ancestors(clean(target)).some((each) => links.has(each)))
        fault(member, 'is a hard link through a symbolic link');
      if (kind === 'link') {
        links.add(path);
        if (target === null || leadsOut(path, target)) outsideLinks += 1;
      } else if (links.has(path)) fault(member, 'takes the name of a symbolic link');
    },
    found: () => ({ members, outsideLinks, faults }),
  };
}

function isOutside(path: string): boolean {
  return path.startsWith('/') || path.split('/').includes('..');
}

/** Without `./` before and `/` behind. */
function clean(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

function ancestors(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, at) => parts.slice(0, at + 1).join('/'));
}

/** Whether a symbolic link at `path` leads out of the source by its own words. */
function leadsOut(path: string, target: string): boolean {
  if (target.startsWith('/')) return true;
  let depth = path.split('/').length - 1;
  for (const part of target.split('/')) {
    if (part === '..') depth -= 1;
    else if (part !== '' && part !== '.') depth += 1;
    if (depth < 0) return true;
  }
  return false;
}
