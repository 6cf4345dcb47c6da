import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { containerIdIn, readBootStart } from './system-port.ts';

const id = 'ab'.repeat(32);
const line = (source: string, target: string): string =>
  `812 791 254:1 ${source} ${target} rw,relatime - ext4 /dev/vda1 rw\n`;

describe('the boot of this guest', () => {
  it("is told by the start of PID 1, where that is the guest's own", async () => {
    const inContainer = containerIdIn(await readFile('/proc/self/mountinfo', 'utf8')) !== null;
    const stat = await readFile('/proc/1/stat', 'utf8');
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    expect(started).toMatch(/^\d+$/);
    expect(await readBootStart()).toBe(inContainer ? null : started);
  });

  it('is not told from within a container of the guest, whose PID 1 is another one', () => {
    const mounts = line('/', '/') + line(`/var/lib/docker/containers/${id}/hostname`, '/etc/hostname');
    expect(containerIdIn(mounts)).toBe(id);
    expect(containerIdIn(line('/', '/') + line('/var/lib/docker', '/var/lib/docker'))).toBeNull();
  });
});
