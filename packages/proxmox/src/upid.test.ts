import { describe, expect, it } from 'vitest';
import { formatUpid, isUpid, parseUpid, parseVmid, tryParseUpid, tryVmid, upidVmid } from './upid.ts';

const text = 'UPID:node-a:0000A1B2:00C0FFEE:6A0B0C0D:vzdump:104:root@pam!felhom:';

describe('a UPID', () => {
  it('says node, worker, time, type, guest and user', () => {
    if (!isUpid(text)) throw new TypeError('not read');
    expect(parseUpid(text)).toEqual({
      node: 'node-a',
      pid: 0xa1b2,
      pstart: 0xc0ffee,
      startSeconds: 0x6a0b0c0d,
      type: 'vzdump',
      id: '104',
      user: 'root@pam!felhom',
    });
    expect(upidVmid(text)).toBe(104);
  });

  it('reads back as it was written', () => {
    const parts = tryParseUpid(text);
    expect(parts === null ? null : formatUpid(parts)).toBe(text);
  });

  it('has an empty id for a job over several guests, and names storages beside the guest', () => {
    const several = 'UPID:n:00000001:00000002:6A0B0C0D:vzdump::root@pam:';
    const deletion = 'UPID:n:00000001:00000002:6A0B0C0D:imgdel:104@bk:root@pam:';
    expect(isUpid(several) && upidVmid(several)).toBe(null);
    expect(isUpid(deletion) && upidVmid(deletion)).toBe(104);
  });

  it('takes a pstart of nine digits: a node that is up for long', () => {
    expect(tryParseUpid('UPID:n:00000001:1AB2C3D4E:6A0B0C0D:vzdump:104:root@pam:')?.pstart).toBe(0x1ab2c3d4e);
  });

  it.each([
    '',
    'OK',
    'UPID:n:bad',
    'UPID:n:1:2:3:vzdump:100:root@pam:',
    `${text}\n`,
    ` ${text}`,
    'UPID:n/../x:00000001:00000002:6A0B0C0D:vzdump:104:root@pam:',
  ])('is not %j', (other) => {
    expect(tryParseUpid(other)).toBe(null);
  });
});

describe('a VMID', () => {
  it('comes as number and as text', () => {
    expect(parseVmid(104)).toBe(104);
    expect(parseVmid('999999999')).toBe(999_999_999);
  });

  it.each([99, 0, -104, 104.5, 1_000_000_000, '0104', '104 ', '', 'all', null, undefined, true])(
    'is not %j',
    (value) => {
      expect(tryVmid(value)).toBe(null);
      expect(() => parseVmid(value)).toThrow('is not a VMID');
    },
  );
});
