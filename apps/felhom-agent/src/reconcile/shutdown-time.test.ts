import { PveError, type PveFault } from '@felhom/proxmox/errors.ts';
import { parseVmid } from '@felhom/proxmox/upid.ts';
import { describe, expect, it } from 'vitest';
import type { ReconcileNode } from './ports.ts';
import { shutdownSeconds } from './shutdown-time.ts';

const guest = { vmid: parseVmid(101), kind: 'qemu' } as const;
const given = async (live: Record<string, string> | PveFault): Promise<number> => {
  const pending = async () => {
    if (typeof live['kind'] === 'string') throw new PveError({ fault: live as PveFault, call: 'GET /x', text: 'no' });
    return { ...guest, digest: 'd', lock: null, live, pending: live };
  };
  const pve = { guests: { pending } } as unknown as Pick<ReconcileNode, 'guests'>;
  return await shutdownSeconds(pve, guest, { shutdownMs: 180_000, signal: new AbortController().signal });
};

describe('the time that a guest has to end by itself', () => {
  it.each([
    ['nothing of its own', {}, 180],
    ['a longer one', { startup: 'order=2,up=30,down=600' }, 600],
    ['a longer one alone', { startup: 'down=600' }, 600],
    ['a shorter one', { startup: 'order=2,down=30' }, 180],
    ['an order alone', { startup: '999' }, 180],
  ])('is by its configuration, and never less than ours: %s', async (_, live, seconds) => {
    expect(await given(live)).toBe(seconds);
  });

  it('is ours where its configuration cannot be read', async () => {
    expect(await given({ kind: 'failed' })).toBe(180);
    expect(await given({ kind: 'transport', outcome: 'unknown' })).toBe(180);
  });

  it('is not guessed where the token is refused', async () => {
    await expect(given({ kind: 'auth' })).rejects.toMatchObject({ fault: { kind: 'auth' } });
  });
});
