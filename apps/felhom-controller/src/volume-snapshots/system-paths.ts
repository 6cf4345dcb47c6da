import { isWithin } from './mounts.ts';

/** With everything below them. */
const trees = [
  '/bin',
  '/boot',
  '/dev',
  '/etc',
  '/lib',
  '/lib32',
  '/lib64',
  '/proc',
  '/run',
  '/sbin',
  '/sys',
  '/usr/bin',
  '/usr/lib',
  '/usr/sbin',
  '/usr/share',
  '/var/run',
  '/var/lib/docker',
  '/var/lib/containerd',
];

/** Themselves, not what lies in them. */
const folders = [
  '/',
  '/home',
  '/media',
  '/mnt',
  '/opt',
  '/root',
  '/srv',
  '/tmp',
  '/usr',
  '/var',
  '/var/lib',
  '/var/log',
];

/** Paths that belong to the machine and to no stack, whatever configuration says. */
export function isSystemPath(path: string): boolean {
  return folders.includes(path) || trees.some((tree) => isWithin(path, tree));
}
