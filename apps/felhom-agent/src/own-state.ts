import { stat } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';

/**
 * Gives root up for the user to whom the state folder belongs, for the rest of this process: a file or lock that root
 * leaves there cannot be opened by `serve`, which runs as that user. The user's other groups are kept: by one of them it reads
 * the files of a cluster. Without root, or where the folder is root's or
 * not there yet, nothing changes.
 */
export async function becomeOwnerOf(stateDir: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const owner = await stat(stateDir).catch(() => null); // Not there yet: whoever makes it owns it.
  if (owner === null || owner.uid === 0) return;
  try {
    takeGroupsOf(owner);
    process.setgid?.(owner.gid);
    process.setuid?.(owner.uid);
  } catch (cause) {
    throw new Failure('refused', {
      message: `this command could not become user ${owner.uid}, to whom ${stateDir} belongs; nothing was done`,
      hint: `Run it as that user: setpriv --reuid ${owner.uid} --regid ${owner.gid} --clear-groups felhom-agent …`,
      cause,
    });
  }
}

/** In Node since ever, and not in its types. */
interface Initgroups {
  initgroups(user: number, extraGroup: number): void;
}

/** Those of the user's entry in /etc/group; a user without a name has its own one only. */
function takeGroupsOf({ uid, gid }: { uid: number; gid: number }): void {
  try {
    (process as NodeJS.Process & Initgroups).initgroups(uid, gid);
  } catch {
    process.setgroups?.([gid]); // No such name: Node says so by an error, and there is nothing to look up.
  }
}
