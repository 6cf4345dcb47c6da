import { formatElapsed } from '@felhom/cli/quantity.ts';
import type { GuestPlan } from './model.ts';
import type { GuestReport } from './report.ts';

/** Guests whose tries failed are left alone for a while, longer each time, until something else is to be done to them. */
export interface GuestBackoff {
  /** Why nothing is tried now; null when it is. */
  pauseOf(plan: GuestPlan, nowMs: number): { reason: string; hint: string | null } | null;
  note(plan: GuestPlan, report: GuestReport, nowMs: number): void;
}

interface Failures {
  wanted: string;
  count: number;
  untilMs: number;
  reason: string;
  hint: string | null;
}

/** `firstMs` after the first failure, doubled after each, up to `longestMs`. */
export function guestBackoff({ firstMs, longestMs }: { firstMs: number; longestMs: number }): GuestBackoff {
  const failures = new Map<number, Failures>();
  return {
    pauseOf: (plan, nowMs) => {
      const known = failures.get(plan.vmid);
      if (known === undefined || known.wanted !== wantedOf(plan) || nowMs >= known.untilMs) return null;
      const again = formatElapsed(known.untilMs - nowMs);
      return { reason: `failed ${known.count} times, tried again in ${again}: ${known.reason}`, hint: known.hint };
    },
    note: (plan, report, nowMs) => {
      if (report.outcome !== 'failed') return void failures.delete(plan.vmid);
      const wanted = wantedOf(plan);
      const known = failures.get(plan.vmid);
      const count = known?.wanted === wanted ? known.count + 1 : 1;
      const pauseMs = Math.min(longestMs, firstMs * 2 ** (count - 1));
      const { reason, hint } = report;
      failures.set(plan.vmid, {
        wanted,
        count,
        untilMs: nowMs + pauseMs,
        reason: reason ?? 'no reason is known',
        hint,
      });
    },
  };
}

function wantedOf({ actions }: GuestPlan): string {
  return JSON.stringify(actions.map((action) => (action.kind === 'configure' ? { ...action, digest: '' } : action)));
}
