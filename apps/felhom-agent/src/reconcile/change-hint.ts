import type { Clock } from '@felhom/kernel/clock.ts';

/*
 * Invariants:
 * - A hint only ever saves a read. What it does not know, cannot read or no longer trusts is read.
 * - No configuration goes unread for longer than `fullReadMs`, whatever the list says: a list that is
 *   stale, or lies, hides drift for that long and no longer.
 * - A version counts only beside the one that was listed BEFORE the configuration was read, from the
 *   same start of the cluster filesystem: its counters begin anew with each start.
 * - Only a guest that was seen in sync with exactly this declaration is passed over. Whatever we did
 *   to a guest was done because it was not, so it is read again afterwards.
 */

/** Which configurations changed, as the cluster filesystem lists them. */
export interface VersionList {
  /** Changes whenever versions begin anew. */
  generation: string;
  guests: ReadonlyMap<number, { node: string; version: number }>;
}

/** Tells which configurations need not be read again. */
export interface ChangeHint {
  /** Once a pass, before the guests are listed. Never throws: without a list everything is read. */
  begin(): Promise<PassHint>;
}

export interface PassHint {
  /** Whether the guest is in sync with `declared` (its fields as text) without its configuration being read. */
  unchanged(vmid: number, declared: string): boolean;
  /**
   * After the plan, once for each guest. `settled`: read in this pass, in sync, nothing waits for a
   * restart. `skipped`: in sync because `unchanged` said so. Anything else: it is read next time.
   */
  conclude(vmid: number, declared: string, outcome: 'settled' | 'skipped' | 'unsettled'): void;
}

export interface ChangeHintOptions {
  /** This node's name: an entry of another node says nothing about a guest of ours. */
  node: string;
  /** Null: there is none, or it cannot be read now. */
  readList: () => Promise<VersionList | null>;
  clock: Pick<Clock, 'monotonicMs'>;
  /** No configuration goes unread for longer. */
  fullReadMs: number;
}

interface Settled {
  generation: string;
  version: number;
  declared: string;
  readAtMs: number;
}

/** The memory of one process: a new one begins with reading everything. */
export function changeHint({ node, readList, clock, fullReadMs }: ChangeHintOptions): ChangeHint {
  const settled = new Map<number, Settled>();
  return {
    begin: async () => {
      const list = await readList();
      const beganAtMs = clock.monotonicMs();
      const listed = (vmid: number): number | null => {
        const entry = list?.guests.get(vmid);
        return entry === undefined || entry.node !== node ? null : entry.version;
      };
      return {
        unchanged: (vmid, declared) => {
          const known = settled.get(vmid);
          if (known === undefined || list === null) return false;
          return (
            known.generation === list.generation &&
            known.version === listed(vmid) &&
            known.declared === declared &&
            beganAtMs - known.readAtMs < fullReadMs
          );
        },
        conclude: (vmid, declared, outcome) => {
          if (outcome === 'skipped') return;
          const version = listed(vmid);
          if (outcome === 'unsettled' || version === null || list === null) settled.delete(vmid);
          else settled.set(vmid, { generation: list.generation, version, declared, readAtMs: beganAtMs });
        },
      };
    },
  };
}
