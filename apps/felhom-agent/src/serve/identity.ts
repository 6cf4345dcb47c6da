/**
 * Telling a guest from its copies, pure.
 *
 * A guest presents a generation and a boot id. Every vzdump seen of it raises the number that it is
 * offered; what lies in an archive is therefore older than what the living guest presents. The offer
 * is in force once it was presented.
 *
 * - older than what is in force: a restored copy.
 * - two boot ids taking turns on one generation: two guests, and nobody knows which is the real one.
 *   A reboot changes the boot id once and never changes it back.
 * - `adopt` lets the refused one in, and offers it (and it alone) the next generation, so that the
 *   other one is refused from then on.
 */
export interface Identity {
  generation: number;
  /** What is offered, or null. Never less than `generation` + 1. */
  offered: number | null;
  /** Where set, only this boot id is offered anything. */
  offeredTo: string | null;
  bootId: string | null;
  /** Boot ids that presented this generation before the present one. */
  earlierBootIds: string[];
  refused: { reason: 'restored_copy' | 'identity_conflict'; generation: number; bootId: string; at: string } | null;
  /** This boot id is let in with whatever generation it presents. */
  adopting: string | null;
}

export interface Presented {
  generation: number;
  bootId: string;
}

export type Verdict =
  | { kind: 'accepted'; identity: Identity; next: number | null; changed: boolean }
  | { kind: 'refused'; reason: 'restored_copy' | 'identity_conflict'; identity: Identity; changed: boolean };

const earlierKept = 16;

export const unknownIdentity: Identity = {
  generation: 0,
  offered: null,
  offeredTo: null,
  bootId: null,
  earlierBootIds: [],
  refused: null,
  adopting: null,
};

export function judgeIdentity(known: Identity, presented: Presented, at: string): Verdict {
  if (known.adopting === presented.bootId) return letIn(known, presented);
  if (presented.generation < known.generation) return refuse(known, presented, 'restored_copy', at);
  const conflict = known.refused?.reason === 'identity_conflict';
  if (presented.generation > known.generation) {
    return conflict ? refuse(known, presented, 'identity_conflict', at) : inForce(known, presented);
  }
  if (conflict || known.earlierBootIds.includes(presented.bootId))
    return refuse(known, presented, 'identity_conflict', at);
  return accept(known, presented);
}

function accept(known: Identity, presented: Presented): Verdict {
  const same = known.bootId === presented.bootId;
  const earlier =
    known.bootId === null || same ? known.earlierBootIds : [...known.earlierBootIds, known.bootId].slice(-earlierKept);
  const identity = same ? known : { ...known, bootId: presented.bootId, earlierBootIds: earlier };
  return { kind: 'accepted', identity, next: offerFor(identity, presented), changed: !same };
}

/** A generation newer than the one in force: the offer was taken (or our own state is the older one). */
function inForce(known: Identity, presented: Presented): Verdict {
  const taken = known.offered !== null && presented.generation >= known.offered;
  const identity: Identity = {
    ...known,
    generation: presented.generation,
    offered: taken ? null : known.offered,
    offeredTo: null,
    bootId: presented.bootId,
    earlierBootIds: [],
  };
  return { kind: 'accepted', identity, next: offerFor(identity, presented), changed: true };
}

function letIn(known: Identity, presented: Presented): Verdict {
  const generation = Math.max(known.generation, presented.generation);
  const next = Math.max(generation, known.offered ?? 0) + 1;
  if (presented.generation >= next - 1 && presented.generation > known.generation) {
    const identity: Identity = { ...unknownIdentity, generation: presented.generation, bootId: presented.bootId };
    return { kind: 'accepted', identity, next: null, changed: true };
  }
  const offered = known.offeredTo === presented.bootId && known.offered !== null ? known.offered : next;
  const identity: Identity = { ...known, offered, offeredTo: presented.bootId, refused: null };
  return { kind: 'accepted', identity, next: offered, changed: known.refused !== null || known.offered !== offered };
}

function refuse(
  known: Identity,
  presented: Presented,
  reason: 'restored_copy' | 'identity_conflict',
  at: string,
): Verdict {
  const before = known.refused;
  const same =
    before?.reason === reason && before.bootId === presented.bootId && before.generation === presented.generation;
  const refused = same ? before : { reason, generation: presented.generation, bootId: presented.bootId, at };
  return { kind: 'refused', reason, identity: { ...known, refused }, changed: !same };
}

function offerFor(identity: Identity, presented: Presented): number | null {
  if (identity.offered === null || identity.offered <= presented.generation) return null;
  return identity.offeredTo === null || identity.offeredTo === presented.bootId ? identity.offered : null;
}

/**
 * A point in time of the guest was captured. What is in it holds at most what was offered so far, so
 * the next number is above both. During an adoption the offer stays with the adopted one.
 */
export function raiseGeneration(known: Identity): Identity {
  return { ...known, offered: Math.max(known.generation, known.offered ?? 0) + 1 };
}

/** A person says that the refused one is the guest. */
export function adoptRefused(known: Identity): Identity {
  return known.refused === null ? known : { ...known, adopting: known.refused.bootId };
}
