import { describe, expect, it } from 'vitest';
import {
  adoptRefused,
  adoptRestored,
  bootOf,
  type Identity,
  judgeIdentity,
  type Presented,
  raiseGeneration,
  unknownIdentity,
} from './identity.ts';

const at = '2026-11-20T01:00:00.000Z';

/** A guest as its controller sees it: it takes every offer. */
function guest(start: Presented) {
  const presented = { ...start };
  return {
    presented,
    call: (known: Identity) => {
      const verdict = judgeIdentity(known, presented, at);
      if (verdict.kind === 'accepted' && verdict.next !== null) presented.generation = verdict.next;
      return verdict;
    },
  };
}

describe('a guest and its copies', () => {
  it('lets a guest in that was never seen', () => {
    expect(judgeIdentity(unknownIdentity, { generation: 0, bootId: 'a' }, at)).toMatchObject({
      kind: 'accepted',
      next: null,
    });
  });

  it('offers the next generation after a snapshot, in force once presented', () => {
    const real = guest({ generation: 0, bootId: 'a' });
    let known = raiseGeneration(real.call(unknownIdentity).identity);
    const offered = real.call(known);
    expect(offered).toMatchObject({ kind: 'accepted', next: 1 });
    known = real.call(offered.identity).identity;
    expect(known).toMatchObject({ generation: 1, offered: null });
  });

  it('refuses the copy that was restored from the snapshot, and not the guest', () => {
    const real = guest({ generation: 0, bootId: 'a' });
    let known = raiseGeneration(real.call(unknownIdentity).identity);
    known = real.call(known).identity;
    known = real.call(known).identity;
    const verdict = judgeIdentity(known, { generation: 0, bootId: 'b' }, at);
    expect(verdict).toMatchObject({ kind: 'refused', reason: 'restored_copy' });
    expect(real.call(verdict.identity)).toMatchObject({ kind: 'accepted' });
  });

  it('raises above an offer that lay in the guest already when its next snapshot was made', () => {
    const real = guest({ generation: 0, bootId: 'a' });
    let known = raiseGeneration(real.call(unknownIdentity).identity);
    known = real.call(known).identity;
    const inSnapshot = { ...real.presented, bootId: 'copy' };
    known = raiseGeneration(known);
    for (let calls = 0; calls < 3; calls += 1) known = real.call(known).identity;
    expect(judgeIdentity(known, inSnapshot, at)).toMatchObject({ kind: 'refused', reason: 'restored_copy' });
    expect(real.call(known)).toMatchObject({ kind: 'accepted' });
  });

  it('takes a reboot for a reboot', () => {
    const first = judgeIdentity(unknownIdentity, { generation: 0, bootId: 'a' }, at);
    const second = judgeIdentity(first.identity, { generation: 0, bootId: 'b' }, at);
    expect(judgeIdentity(second.identity, { generation: 0, bootId: 'b' }, at)).toMatchObject({ kind: 'accepted' });
  });

  it('refuses both when two boot ids take turns', () => {
    let known = unknownIdentity;
    for (const bootId of ['a', 'b']) known = judgeIdentity(known, { generation: 0, bootId }, at).identity;
    const turn = judgeIdentity(known, { generation: 0, bootId: 'a' }, at);
    expect(turn).toMatchObject({ kind: 'refused', reason: 'identity_conflict' });
    expect(judgeIdentity(turn.identity, { generation: 0, bootId: 'b' }, at)).toMatchObject({
      kind: 'refused',
      reason: 'identity_conflict',
    });
  });

  it('does not let one of the two slip out of a conflict by an offer', () => {
    let known = raiseGeneration(unknownIdentity);
    for (const bootId of ['a', 'b', 'a']) known = judgeIdentity(known, { generation: 0, bootId }, at).identity;
    expect(judgeIdentity(known, { generation: 1, bootId: 'b' }, at)).toMatchObject({
      kind: 'refused',
      reason: 'identity_conflict',
    });
  });

  it('lets the adopted copy in and refuses the former guest from then on', () => {
    let known: Identity = { ...unknownIdentity, generation: 3, bootId: 'a' };
    known = judgeIdentity(known, { generation: 1, bootId: 'copy' }, at).identity;
    known = adoptRefused(known);
    const copy = guest({ generation: 1, bootId: 'copy' });
    for (let calls = 0; calls < 3; calls += 1) {
      const verdict = copy.call(known);
      expect(verdict.kind).toBe('accepted');
      known = verdict.identity;
    }
    expect(known).toMatchObject({ generation: 4, refused: null, adopting: null });
    expect(judgeIdentity(known, { generation: 3, bootId: 'a' }, at)).toMatchObject({
      kind: 'refused',
      reason: 'restored_copy',
    });
  });

  it('keeps an adoption through a snapshot in the middle of it', () => {
    let known: Identity = adoptRefused(
      judgeIdentity({ ...unknownIdentity, generation: 3 }, { generation: 1, bootId: 'copy' }, at).identity,
    );
    const copy = guest({ generation: 1, bootId: 'copy' });
    known = raiseGeneration(copy.call(known).identity);
    for (let calls = 0; calls < 4; calls += 1) {
      const verdict = copy.call(known);
      expect(verdict.kind).toBe('accepted');
      known = verdict.identity;
    }
    expect(known.generation).toBe(copy.presented.generation);
  });

  it('offers an adopted generation to nobody else', () => {
    let known: Identity = adoptRefused(
      judgeIdentity({ ...unknownIdentity, generation: 3, bootId: 'a' }, { generation: 1, bootId: 'copy' }, at).identity,
    );
    known = judgeIdentity(known, { generation: 1, bootId: 'copy' }, at).identity;
    expect(judgeIdentity(known, { generation: 3, bootId: 'a' }, at)).toMatchObject({ kind: 'accepted', next: null });
  });

  it('tells an adopted copy from the guest even where both show one boot id, as containers of one host do', () => {
    let known: Identity = { ...unknownIdentity, generation: 3, bootId: 'host' };
    known = adoptRefused(judgeIdentity(known, { generation: 1, bootId: 'host' }, at).identity);
    const copy = guest({ generation: 1, bootId: 'host' });
    known = copy.call(known).identity;
    expect(judgeIdentity(known, { generation: 3, bootId: 'host' }, at)).toMatchObject({ kind: 'accepted', next: null });
    known = copy.call(known).identity;
    expect(known).toMatchObject({ generation: 4, adopting: null });
    expect(judgeIdentity(known, { generation: 3, bootId: 'host' }, at)).toMatchObject({ reason: 'restored_copy' });
  });

  describe('of hosts whose guests share a boot id', () => {
    const one: Presented = { generation: 0, bootId: bootOf('host', '100') };
    const two: Presented = { generation: 0, bootId: bootOf('host', '200') };
    const older: Presented = { generation: 0, bootId: bootOf('host', undefined) };
    const after = (...calls: Presented[]): Identity =>
      calls.reduce((known, presented) => judgeIdentity(known, presented, at).identity, unknownIdentity);

    it('are told apart by the start of PID 1', () => {
      const turn = judgeIdentity(after(one, two), one, at);
      expect(turn).toMatchObject({ kind: 'refused', reason: 'identity_conflict' });
      expect(judgeIdentity(turn.identity, two, at)).toMatchObject({ kind: 'refused', reason: 'identity_conflict' });
    });

    it('take a reboot for a reboot, although the boot id stays', () => {
      expect(judgeIdentity(after(one, two), two, at)).toMatchObject({ kind: 'accepted', changed: false });
    });

    it('are let in by controllers old and new in turn, as during an upgrade', () => {
      let known = after(older);
      for (const presented of [one, older, one, older, one]) {
        const verdict = judgeIdentity(known, presented, at);
        expect(verdict.kind).toBe('accepted');
        known = verdict.identity;
      }
      expect(known).toMatchObject({ bootId: one.bootId, earlierBootIds: [] });
      // What the newer one told is not forgotten for the older one's sake.
      expect(judgeIdentity(judgeIdentity(known, two, at).identity, one, at)).toMatchObject({
        reason: 'identity_conflict',
      });
    });

    it('let in the adopted one, and nobody else for it', () => {
      let known = adoptRefused(judgeIdentity(after(one, two), one, at).identity);
      const adopted = guest(one);
      known = adopted.call(known).identity;
      expect(judgeIdentity(known, two, at)).toMatchObject({ kind: 'accepted', next: null });
      known = adopted.call(known).identity;
      expect(judgeIdentity(known, two, at)).toMatchObject({ reason: 'restored_copy' });
    });
  });

  it('is an alert while the copy calls, and for an hour after', () => {
    const later = (minutes: number): string => new Date(Date.parse(at) + minutes * 60_000).toISOString();
    const real = { generation: 3, bootId: 'a' };
    let known: Identity = { ...unknownIdentity, ...real };
    known = judgeIdentity(known, { generation: 1, bootId: 'copy' }, at).identity;
    known = judgeIdentity(known, { generation: 1, bootId: 'copy' }, later(50)).identity;
    expect(judgeIdentity(known, real, later(100))).toMatchObject({
      changed: false,
      identity: { refused: { reason: 'restored_copy' } },
    });
    expect(judgeIdentity(known, real, later(111))).toMatchObject({ changed: true, identity: { refused: null } });
  });

  it('believes a generation from before our own state was lost', () => {
    expect(judgeIdentity(unknownIdentity, { generation: 9, bootId: 'a' }, at)).toMatchObject({
      kind: 'accepted',
      identity: { generation: 9 },
    });
  });
});

describe('a guest that a signed operation put back to an earlier time', () => {
  /** Generation 3 is in force; the guest held 1 when the backup that is restored was made. */
  const before: Identity = { ...unknownIdentity, generation: 3, offered: 4, bootId: 'before' };

  it('is let in with what it held then, and is offered a generation that no copy can hold', () => {
    const restored = guest({ generation: 1, bootId: 'after' });
    expect(restored.call(before)).toMatchObject({ kind: 'refused', reason: 'restored_copy' });
    let known = adoptRestored(before) ?? before;
    known = restored.call(known).identity;
    known = restored.call(known).identity;
    expect(known).toMatchObject({ generation: 5, refused: null });
    expect(restored.call(known)).toMatchObject({ kind: 'accepted' });
    for (const generation of [1, 3, 4])
      expect(judgeIdentity(known, { generation, bootId: 'copy' }, at)).toMatchObject({ kind: 'refused' });
  });

  it('is left to a person while a copy of it is calling', () => {
    const refused = judgeIdentity(before, { generation: 1, bootId: 'copy' }, at).identity;
    expect(adoptRestored(refused)).toBeNull();
  });

  it('may be adopted twice', () => {
    const twice = adoptRestored(adoptRestored(before) ?? before) ?? before;
    expect(judgeIdentity(twice, { generation: 1, bootId: 'after' }, at)).toMatchObject({ kind: 'accepted' });
  });
});
