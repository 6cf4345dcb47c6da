import { run } from './process.ts';

/** Unmounts everything below a folder, the deepest first; loop devices go with their mounts. */
export async function unmountBelow(folder: string): Promise<void> {
  const listed = (await run('findmnt', ['--list', '--noheadings', '--output', 'TARGET'])).stdout;
  const targets = listed
    .split('\n')
    .map((line) => line.trim())
    .filter((target) => target.startsWith(`${folder}/`));
  for (const target of targets.toReversed()) {
    const plain = await run('umount', [target]);
    if (plain.code !== 0) await run('umount', ['--lazy', target]);
  }
}
