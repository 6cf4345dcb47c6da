/**
 * Telling a guest from its copies, pure.
 *
 * A guest presents a generation and a boot id, and with it when its PID 1 started, because containers of one host may share
 * the kernel's boot id. Every vzdump seen of it raises the number that it is
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
  bootId: string | null;
  /** Boot ids that presented this generation before the present one. */
  earlierBootIds: string[];
  refused: { reason: 'restored_copy' | 'identity_conflict'; generation: number; bootId: string; at: string } | null;
  /** The refused one that a person calls the guest: it is let in, and alone is offered the next generation. */
  adopting: Presented | null;
}

export interface Presented {
  generation: number;
  bootId: string;
}

/** The boot of a guest as it is compared and kept: the kernel's id, and the start of PID 1 where it was told. */
export function bootOf(bootId: string, started: string | undefined): string {
  return started === undefined ? bootId : `${bootId}+${started}`;
}

/**
 * Whether two presented boots can be the same one. A controller that does not tell its start, as an older one beside a newer
 * during an upgrade, may be any guest with its boot id.
 */
function canBeOneBoot(left: string, right: string): boolean {
  const [leftId, leftStarted] = left.split('+');
  const [rightId, rightStarted] = right.split('+');
  if (leftId !== rightId) return false;
  return leftStarted === undefined || rightStarted === undefined || leftStarted === rightStarted;
}

export type Verdict =
  | { kind: 'accepted'; identity: Identity; next: number | null; changed: boolean }
  | { kind: 'refused'; reason: 'restored_copy' | 'identity_conflict'; identity: Identity; changed: boolean };

const earlierKept = 16;
/** A copy that has not called for this long is no longer a matter for a person. */
const refusalKeptMs = 3_600_000;
/** How often a copy that keeps calling is put on record again. */
const refusalNotedMs = 600_000;

export const unknownIdentity: Identity = {
  generation: 0,
  offered: null,
  bootId: null,
  earlierBootIds: [],
  refused: null,
  adopting: null,
};

export function judgeIdentity(known: Identity, presented: Presented, at: string): Verdict {
  const { adopting } = known;
  const adopted = adopting !== null && canBeOneBoot(adopting.bootId, presented.bootId);
  if (adopted && adopting.generation === presented.generation) return letIn(known, presented);
  if (presented.generation < known.generation) return refuse(known, presented, 'restored_copy', at);
  const conflict = known.refused?.reason === 'identity_conflict';
  if (presented.generation > known.generation && (adopted || !conflict)) return inForce(known, presented);
  const isPresent = known.bootId !== null && canBeOneBoot(known.bootId, presented.bootId);
  const isEarlier = !isPresent && known.earlierBootIds.some((earlier) => canBeOneBoot(earlier, presented.bootId));
  if (conflict || isEarlier) return refuse(known, presented, 'identity_conflict', at);
  return accept(known, presented, at);
}

function accept(known: Identity, presented: Presented, at: string): Verdict {
  const same = known.bootId !== null && canBeOneBoot(known.bootId, presented.bootId);
  // What is known of a boot never becomes less: an older controller of the same guest tells no start.
  const bootId = same && known.bootId !== null && !presented.bootId.includes('+') ? known.bootId : presented.bootId;
  const earlier =
    known.bootId === null || same ? known.earlierBootIds : [...known.earlierBootIds, known.bootId].slice(-earlierKept);
  const forgotten = known.refused !== null && Date.parse(at) - Date.parse(known.refused.at) > refusalKeptMs;
  if (bootId === known.bootId && !forgotten)
    return { kind: 'accepted', identity: known, next: offerFor(known, presented), changed: false };
  const refused = forgotten ? null : known.refused;
  const identity = { ...known, bootId, earlierBootIds: earlier, refused };
  return { kind: 'accepted', identity, next: offerFor(identity, presented), changed: true };
}

/** A generation newer than the one in force: the offer was taken (or our own state is the older one). */
function inForce(known: Identity, presented: Presented): Verdict {
  const taken = known.offered !== null && presented.generation >= known.offered;
  const identity: Identity = {
    ...unknownIdentity,
    generation: presented.generation,
    offered: taken ? null : known.offered,
    bootId: presented.bootId,
    refused: known.refused?.reason === 'identity_conflict' || known.adopting !== null ? null : known.refused,
  };
  return { kind: 'accepted', identity, next: offerFor(identity, presented), changed: true };
}

/** The adopted one, still with what it was refused for. It presents what it is offered here next. */
function letIn(known: Identity, presented: Presented): Verdict {
  const offered = Math.max(known.offered ?? 0, known.generation + 1, presented.generation + 1);
  const changed = known.refused !== null || known.offered !== offered;
  return { kind: 'accepted', identity: { ...known, offered, refused: null }, next: offered, changed };
}

function refuse(
  known: Identity,
  presented: Presented,
  reason: 'restored_copy' | 'identity_conflict',
  at: string,
): Verdict {
  const before = known.refused;
  const same =
    before?.reason === reason &&
    before.bootId === presented.bootId &&
    before.generation === presented.generation &&
    Date.parse(at) - Date.parse(before.at) < refusalNotedMs;
  const refused = same ? before : { reason, generation: presented.generation, bootId: presented.bootId, at };
  return { kind: 'refused', reason, identity: { ...known, refused }, changed: !same };
}

/** During an adoption nobody but the adopted one is offered anything. */
function offerFor({ offered, adopting }: Identity, presented: Presented): number | null {
  return offered === null || offered <= presented.generation || adopting !== null ? null : offered;
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
  return known.refused === null
    ? known
    : { ...known, adopting: { generation: known.refused.generation, bootId: known.refused.bootId } };
}

/**
 * We put the guest back to an earlier time: what presents itself next is the guest, with whatever generation it held
 * then, and is offered one above all that any copy can hold. While a copy of it is calling nobody could tell them
 * apart: null, a person has to say which one it is.
 */
export function adoptRestored(known: Identity): Identity | null {
  if (known.refused !== null) return null;
  return { ...unknownIdentity, offered: Math.max(known.generation, known.offered ?? 0) + 1 };
}
