import { places } from './in-parallel.ts';
import type { GuestReport } from './report.ts';

/*
 * Work on guests that may outlive the pass that began it: a guest that takes minutes to stop keeps its lane and its
 * place among the mutations until then, and nobody else waits for it.
 *
 * Invariants
 * - One piece of work a guest. Who finds one under way begins none.
 * - What a piece of work came to is told once: by its own pass, or by the first one after its end.
 */
export interface UnderWay {
  /** Places for mutations of this process, over all passes. */
  enter: ReturnType<typeof places>;
  isWorking(vmid: number): boolean;
  /** Resolves when it has ended. `work` never throws. */
  begin(vmid: number, work: () => Promise<GuestReport>): Promise<void>;
  /** What ended work came to, if nobody was told yet; null otherwise, and while it is under way. */
  untold(vmid: number): GuestReport | null;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

export function guestsUnderWay(mutations: number): UnderWay {
  const working = new Map<number, Promise<void>>();
  const ended = new Map<number, GuestReport>();
  return {
    enter: places(mutations),
    isWorking: (vmid) => working.has(vmid),
    begin: (vmid, work) => {
      const end = work().then((report) => {
        ended.set(vmid, report);
        working.delete(vmid);
      });
      working.set(vmid, end);
      return end;
    },
    untold: (vmid) => {
      const report = ended.get(vmid) ?? null;
      ended.delete(vmid);
      return report;
    },
    idle: async () => {
      await Promise.all(working.values());
    },
  };
}
