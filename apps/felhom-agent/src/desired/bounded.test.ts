import { systemClock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { describe, expect, it } from 'vitest';
import type { Desired } from '../reconcile/model.ts';
import { boundedProvider } from './bounded.ts';

const nothing: Desired = { guests: [], problems: [], version: null };
const place = '/etc/pve/felhom/guests.d';

/** A folder whose reads end when a test says so. */
function hangingFolder(patience: 'none' | 'endless') {
  const ends: { resolve: (desired: Desired) => void; reject: (error: Error) => void }[] = [];
  const read = async (): Promise<Desired> => await new Promise((resolve, reject) => ends.push({ resolve, reject }));
  const sleep = async (_ms: number, signal?: AbortSignal): Promise<void> =>
    patience === 'none' ? undefined : await new Promise((done) => signal?.addEventListener('abort', () => done()));
  return { provider: boundedProvider({ read }, { place, patienceMs: 30_000, clock: { sleep } }), ends };
}

const failureOf = async (promise: Promise<unknown>): Promise<Failure> => {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  if (error instanceof Failure) return error;
  throw new Error(`no failure but ${String(error)}`);
};

describe('a folder on a filesystem that may hang', () => {
  it('is read as ever while it answers', async () => {
    const provider = boundedProvider({ read: async () => nothing }, { place, patienceMs: 30_000, clock: systemClock });
    expect(await provider.read()).toBe(nothing);
  });

  it('is waited for so long and no longer, and then nothing is known, which is not nothing declared', async () => {
    const { provider } = hangingFolder('none');
    const failure = await failureOf(provider.read());
    expect(failure).toMatchObject({ code: 'desired_unavailable', exit: 10 });
    expect(failure.message).toMatch(
      /guests\.d is not known: it could not be read within 30 s; guests stay as they are/,
    );
  });

  it('is not asked again beside a read that hangs, and is read again once that has ended', async () => {
    const { provider, ends } = hangingFolder('none');
    await failureOf(provider.read());
    expect((await failureOf(provider.read())).message).toContain('an earlier read of it still hangs');
    expect(ends).toHaveLength(1);
    ends[0]?.reject(new Error('the filesystem is gone'));
    await new Promise((resolve) => setImmediate(resolve));
    await failureOf(provider.read());
    expect(ends).toHaveLength(2);
  });

  it('that fails says why by itself', async () => {
    const { provider, ends } = hangingFolder('endless');
    const reading = provider.read();
    ends[0]?.reject(new Error('not a folder'));
    await expect(reading).rejects.toThrow('not a folder');
  });
});
