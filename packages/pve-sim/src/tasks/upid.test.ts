import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatUpid, parseUpid } from './upid.ts';

const number32 = fc.integer({ min: 0, max: 0x7fff_ffff });

describe('a UPID', () => {
  it('says what went into it', () => {
    const fields = fc.record({
      node: fc.constantFrom('pve1', 'node-2'),
      pid: number32,
      pstart: number32,
      starttime: number32,
      type: fc.constantFrom('vzdump', 'vzstart', 'imgdel'),
      id: fc.constantFrom('101', '', '101@bk'),
      user: fc.constantFrom('root@pam', 'root@pam!ref', 'bak@pve!tk'),
    });
    fc.assert(
      fc.property(fields, (one) => {
        expect(parseUpid(formatUpid(one))).toEqual(one);
      }),
    );
  });

  it('looks as recorded', () => {
    const fields = {
      node: 'pve1',
      pid: 1402,
      pstart: 173_636,
      starttime: 1_795_217_722,
      type: 'vzdump',
      id: '101',
      user: 'root@pam!ref',
    };
    expect(formatUpid(fields)).toBe('UPID:pve1:0000057A:0002A644:6B00D93A:vzdump:101:root@pam!ref:');
    expect(parseUpid('UPID:pve1:bad')).toBeNull();
  });
});
