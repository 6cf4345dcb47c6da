import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestOf, parseConfig, renderConfig, storedDescription } from './guest-config.ts';

const ct100 = {
  config: {
    unprivileged: 1,
    arch: 'amd64',
    cores: 1,
    hostname: 'ct100',
    memory: 128,
    ostype: 'unmanaged',
    rootfs: 'local:100/vm-100-disk-0.raw,size=1G',
    swap: 512,
  },
  pending: {},
  snapshots: {},
};

describe('a guest configuration', () => {
  it('has the digests that a real node gave for the same options', () => {
    expect(digestOf(ct100)).toBe('3e5601e8e7355d6ee4676b32343669e40320f48a');
    expect(digestOf({ ...ct100, description: 'hello\n' })).toBe('646808773f8c3605aea6a1b61793ff6e31acae1a');
    expect(digestOf({ ...ct100, description: '# not a comment\nkey: value\n[snap]\n%percent%0A\n' })).toBe(
      'c6487c6f814c4a80df38e781b5ac78470e1e1d54',
    );
  });

  it('reads back whatever description was stored', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const description = storedDescription('lxc', text) ?? undefined;
        expect(parseConfig('lxc', renderConfig({ ...ct100, description })).description).toBe(description);
      }),
    );
  });

  it('storing what was read back changes nothing', () => {
    const kinds = fc.constantFrom<'lxc' | 'qemu'>('lxc', 'qemu');
    fc.assert(
      fc.property(kinds, fc.string(), (kind, text) => {
        const once = storedDescription(kind, text);
        expect(once === null ? null : storedDescription(kind, once)).toBe(once);
      }),
    );
  });

  it('keeps its options through a round trip', () => {
    expect(parseConfig('lxc', renderConfig(ct100)).config).toEqual(ct100.config);
    expect(parseConfig('qemu', 'memory: 64\ncores: 2\n').config).toEqual({ memory: '64', cores: 2 });
  });
});
