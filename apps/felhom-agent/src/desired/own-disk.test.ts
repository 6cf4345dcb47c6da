import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { isOnOwnDisk } from './own-disk.ts';

it('tells a disk of this host from what a kernel or another process makes up, and from nothing', async () => {
  expect(await isOnOwnDisk(tmpdir())).toBe(true);
  expect(await isOnOwnDisk('/proc/self')).toBe(false);
  expect(await isOnOwnDisk('/nonexistent')).toBe(false);
});
