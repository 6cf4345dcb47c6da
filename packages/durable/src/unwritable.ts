import { Failure } from '@felhom/kernel/failure.ts';
import { errorCode } from './disk.ts';

const advice: Record<string, string> = {
  ENOSPC: 'Free space on the disk that holds it (df -h; docker system df), then run the same command again.',
  EDQUOT: 'Raise the quota or free space, then run the same command again.',
  EROFS:
    'The file system is mounted read-only: see dmesg for the reason, then remount it (mount -o remount,rw) and try again.',
  EACCES: 'Run the same command as root (sudo).',
  EPERM: 'Run the same command as root (sudo); lsattr shows whether the file was made immutable.',
  EIO: 'The disk reports errors (dmesg): replace it before anything else.',
};

/**
 * A failed durable write in words for a person. `state` says how things are now: what was not
 * done because it could not be recorded.
 */
export function unwritable(path: string, state: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  const code = errorCode(cause);
  const why = cause instanceof Error ? cause.message : String(cause);
  return new Failure('state_unwritable', {
    message: `${path} could not be written (${why}). ${state}`,
    hint: advice[code] ?? 'Check the disk and the permissions of that folder, then run the same command again.',
    cause,
  });
}
