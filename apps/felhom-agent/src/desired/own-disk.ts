import { statfs } from 'node:fs/promises';

/** By their magic numbers (statfs(2)): ext2 to ext4, XFS, btrfs, ZFS, tmpfs, overlayfs. */
const ofOwnDisks = new Set([0xef53, 0x58465342, 0x9123683e, 0x2fc12fc1, 0x01021994, 0x794c7630]);

/**
 * Whether the folder lies on a disk of this host. A look at a file's times is answered at once there; a network's file
 * system, or the cluster's, may keep whoever asks waiting for good. What cannot be told is none.
 */
export async function isOnOwnDisk(folder: string): Promise<boolean> {
  try {
    return ofOwnDisks.has((await statfs(folder)).type);
  } catch {
    return false;
  }
}
