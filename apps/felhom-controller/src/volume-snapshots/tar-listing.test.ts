import { describe, expect, it } from 'vitest';
import { watchMembers } from './check-members.ts';
import { parseMounts } from './mounts.ts';
import type { Member } from './ports.ts';
import { lineSplitter, parseMember } from './tar-listing.ts';

describe("a line of tar's list", () => {
  it.each([
    ['-rw-r--r-- 0/0        52428800 2026-11-24 22:10 "./sparse"', { kind: 'file', path: './sparse', target: null }],
    ['drwx--x--x 4242/4343         0 2026-11-24 22:10 "./"', { kind: 'folder', path: './', target: null }],
    [
      'lrwxrwxrwx 0/0               0 2026-11-24 22:10 "./a" -> "/etc/passwd"',
      { kind: 'link', path: './a', target: '/etc/passwd' },
    ],
    [
      'hrw-r--r-- 0/0               0 2026-11-24 22:10 "./f" link to "./h"',
      { kind: 'hardlink', path: './f', target: './h' },
    ],
    ['prw-r--r-- 0/0               0 2026-11-24 22:10 "./p"', { kind: 'fifo', path: './p', target: null }],
    ['crw-rw-rw- 0/0             1,3 2026-11-24 22:10 "null"', { kind: 'device', path: 'null', target: null }],
    [
      '-rw-r--r-- 0/0               1 2026-11-24 22:10 "./we\\nird\\" -> \\"x"',
      { kind: 'file', path: './we\\nird\\" -> \\"x', target: null },
    ],
  ])('%s', (line, member) => {
    expect(parseMember(line)).toEqual(member);
  });

  it('of no known form is none', () => {
    expect(parseMember('tar: Removing leading / from member names')).toBeNull();
    expect(parseMember('')).toBeNull();
  });

  it('comes whole out of a stream that is cut anywhere, inside a letter too', () => {
    const text = 'eins\nzwei ä\ndrei';
    const bytes = Buffer.from(text);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const lines: string[] = [];
      const split = lineSplitter((line) => lines.push(line));
      split.take(bytes.subarray(0, cut));
      split.take(bytes.subarray(cut));
      split.end();
      expect(lines).toEqual(text.split('\n'));
    }
  });
});

describe('the members of an archive', () => {
  const found = (...members: Member[]) => {
    const watch = watchMembers();
    for (const member of members) watch.see(member);
    return watch.found();
  };
  const file = (path: string): Member => ({ kind: 'file', path, target: null });
  const link = (path: string, target: string): Member => ({ kind: 'link', path, target });

  it('may be files, folders, pipes, links and hard links within', () => {
    const { faults, members, outsideLinks } = found(
      file('./a'),
      link('./deep/b', '../a'),
      { kind: 'hardlink', path: './c', target: './a' },
      { kind: 'fifo', path: './p', target: null },
      file('./a..b/..c'),
    );
    expect([faults, members, outsideLinks]).toEqual([[], 5, 0]);
  });

  it.each([
    [file('../a'), /outside/],
    [file('./x/../../a'), /outside/],
    [file('/a'), /outside/],
    [{ kind: 'hardlink', path: './a', target: '../../etc/passwd' } as const, /hard link to/],
    [{ kind: 'device', path: './null', target: null } as const, /is a device/],
    [{ kind: 'socket', path: './s', target: null } as const, /is a socket/],
    [{ kind: 'other', path: './o', target: null } as const, /no known kind/],
  ])('may not be %j', (member, why) => {
    expect(found(member).faults.join()).toMatch(why);
  });

  it('may not pass through a link, nor take its name, nor be a hard link through one', () => {
    expect(found(link('./way', '/etc'), file('./way/cron')).faults.join()).toMatch(/passes through/);
    expect(found(link('./way', '/etc'), file('way')).faults.join()).toMatch(/takes the name/);
    expect(found(link('./way', '/etc'), { kind: 'hardlink', path: './x', target: 'way/shadow' }).faults.join()).toMatch(
      /through/,
    );
    expect(found(link('./way', '/etc'), file('./wayward')).faults).toEqual([]);
  });

  it('are counted where they lead out', () => {
    const out = found(link('./a', '/dev/stdout'), link('./b', '..'), link('./c/d', '../..'), link('./c/e', '../f'));
    expect(out.outsideLinks).toBe(3);
  });
});

describe('the table of mounts', () => {
  it('is read with odd names, options and the flag of the file system itself', () => {
    const text = [
      '36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw,errors=continue',
      '37 36 0:33 /sub /mnt/with\\040blank ro,relatime master:1 shared:7 - btrfs /dev/sdb rw,space_cache=v2',
      '38 36 0:40 / /data rw - nfs4 nas:/export ro,vers=4.2',
      'not a mount',
    ].join('\n');
    expect(parseMounts(text)).toEqual([
      { device: '98:0', path: '/', type: 'ext4', source: '/dev/root', readOnly: false },
      { device: '0:33', path: '/mnt/with blank', type: 'btrfs', source: '/dev/sdb', readOnly: true },
      { device: '0:40', path: '/data', type: 'nfs4', source: 'nas:/export', readOnly: true },
    ]);
  });
});
