import { describe, expect, it } from 'vitest';
import { judgePreflight, type PreflightFacts } from './preflight.ts';

const gib = 2 ** 30;
const bounds = { headroom: gib, pool_full_percent: 95 };
const policy = { storage: 'bk', mode: 'snapshot' as const, onDowngrade: 'abort' as const };
const storage = { name: 'bk', type: 'dir', active: true, totalBytes: 100 * gib, availableBytes: 50 * gib };
const facts: PreflightFacts = {
  guest: { vmid: 101, kind: 'lxc', name: 'docker1', running: true, lock: null },
  storage,
  volumes: {
    included: [{ mount: '/', storage: 'local-zfs' }],
    excluded: [{ mount: '/srv/media', why: 'bind mount of the host' }],
    snapshotsPossible: true,
    haManaged: false,
  },
  pools: [{ name: 'local-zfs', type: 'zfspool', active: true, totalBytes: 100 * gib, availableBytes: 50 * gib }],
  lastSizeBytes: 10 * gib,
};

describe('the preflight', () => {
  it('lets a healthy guest through and tells what will be missing', () => {
    expect(judgePreflight(facts, policy, bounds)).toEqual({
      kind: 'go',
      excluded: [{ mount: '/srv/media', why: 'bind mount of the host' }],
    });
  });

  const volumes = facts.volumes;
  if (volumes === null) throw new Error('the facts have volumes');
  it.each<[string, Partial<PreflightFacts>, string, RegExp]>([
    ['a guest that is not here', { guest: null }, 'unknown_guest', /not on this node/],
    ['an unknown storage', { storage: null }, 'backup_failed', /no storage bk/],
    ['an inactive storage', { storage: { ...storage, active: false } }, 'backup_failed', /not active/],
    [
      'a locked guest',
      { guest: { vmid: 101, kind: 'lxc', name: 'x', running: true, lock: 'backup' } },
      'busy',
      /locked \(backup\)/,
    ],
    [
      'a storage without room for the last size',
      { storage: { ...storage, availableBytes: 10.5 * gib } },
      'backup_failed',
      /10\.5 GiB left/,
    ],
    [
      'a pool that is near full',
      { pools: [{ name: 'local-lvm', type: 'lvmthin', active: true, totalBytes: 100, availableBytes: 5 }] },
      'backup_failed',
      /local-lvm is 95 % full/,
    ],
    [
      'a volume without snapshots',
      { volumes: { ...volumes, snapshotsPossible: false } },
      'mode_downgrade',
      /suspend mode/,
    ],
  ])('stops at %s, with the apps running', (_, change, code, message) => {
    const verdict = judgePreflight({ ...facts, ...change }, policy, bounds);
    expect(verdict).toMatchObject({ kind: 'stop', error: { code } });
    if (verdict.kind === 'stop') expect(verdict.error.message).toMatch(message);
    if (verdict.kind === 'stop') expect(verdict.error.message).toContain('the apps keep running');
  });

  it('accepts a downgrade where the policy does', () => {
    const change = { ...facts, volumes: { ...volumes, snapshotsPossible: false } };
    expect(judgePreflight(change, { ...policy, onDowngrade: 'accept' }, bounds).kind).toBe('go');
  });

  it('does not judge the room of a storage that tells no size', () => {
    expect(
      judgePreflight({ ...facts, storage: { ...storage, totalBytes: 0, availableBytes: 0 } }, policy, bounds).kind,
    ).toBe('go');
  });
});
